"""Between engines: commands find the engine that owns their tenant; hints wake it up."""
