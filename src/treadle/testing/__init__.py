"""Helpers for tests of programs that use Treadle, and for Treadle's own."""
