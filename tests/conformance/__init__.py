"""The unmodified official SDK, as worker and as client, against this engine."""

import warnings

with warnings.catch_warnings():
    # Importing it calls its retry library with an old name; tests turn warnings into errors.
    warnings.filterwarnings("ignore", "The 'initial' parameter is deprecated", DeprecationWarning)
    import hatchet_sdk as hatchet_sdk
