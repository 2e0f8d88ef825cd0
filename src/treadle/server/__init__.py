"""The composition root: settings, boot, signals. The only folder that builds objects."""
