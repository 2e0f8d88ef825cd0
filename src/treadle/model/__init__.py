"""Plain data and the rules about it: no I/O, no clock but for ids, no logging."""
