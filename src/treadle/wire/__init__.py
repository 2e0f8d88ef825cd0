"""The wire: protobuf messages, their meaning, and tokens. Only here does protobuf meet the model."""
