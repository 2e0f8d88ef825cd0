"""The descriptor pool of these messages, apart from the one that other SDKs fill."""

from typing import cast

from google.protobuf import descriptor_pool, message_factory, timestamp_pb2

POOL = descriptor_pool.DescriptorPool()
POOL.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)

# Fields of these messages take this class; the one of timestamp_pb2 belongs to the other pool.
Timestamp = cast(
    "type[timestamp_pb2.Timestamp]",
    message_factory.GetMessageClass(POOL.FindMessageTypeByName("google.protobuf.Timestamp")),
)
