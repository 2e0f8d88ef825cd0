"""Work comes in over gRPC: definitions, triggers, requests to cancel and replay."""
