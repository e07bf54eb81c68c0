//! What the messages of the decoded APIs are made of, by version: names, types and versions are those of Kafka's message
//! definitions (<https://github.com/apache/kafka/tree/trunk/clients/src/main/resources/common/message>), names written
//! as the protocol guide writes them.

use Kind::{Bool, Bytes, I8, I16, I32, I64, Ints, Longs, Records, Rows, Str, Strs, Struct, Uuid};

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Uuid,
    Str,
    Bytes,
    /// Record batches.
    Records,
    Ints,
    Longs,
    Strs,
    /// An array of structures.
    Rows(&'static [Field]),
    Struct(&'static [Field]),
}

/// One field, and in which versions there is one.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub from: i16,
    pub to: i16,
    /// Its number, where it is among the tagged fields.
    pub tag: Option<u32>,
}

/// A field from a version on.
const fn f(name: &'static str, kind: Kind, from: i16) -> Field {
    Field { name, kind, from, to: i16::MAX, tag: None }
}

impl Field {
    /// The last version that has it.
    const fn to(self, to: i16) -> Field {
        Field { to, ..self }
    }

    const fn tag(self, tag: u32) -> Field {
        Field { tag: Some(tag), ..self }
    }

    pub fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }
}

const LEADER: &[Field] = &[f("leader_id", I32, 0), f("leader_epoch", I32, 0)];

const ENDPOINTS: &[Field] = &[f("node_id", I32, 0), f("host", Str, 0), f("port", I32, 0), f("rack", Str, 0)];

pub const PRODUCE_REQUEST: &[Field] = &[
    f("transactional_id", Str, 3),
    f("acks", I16, 0),
    f("timeout_ms", I32, 0),
    f(
        "topic_data",
        Rows(&[
            f("name", Str, 0).to(12),
            f("topic_id", Uuid, 13),
            f("partition_data", Rows(&[f("index", I32, 0), f("records", Records, 0)]), 0),
        ]),
        0,
    ),
];

pub const PRODUCE_RESPONSE: &[Field] = &[
    f(
        "responses",
        Rows(&[
            f("name", Str, 0).to(12),
            f("topic_id", Uuid, 13),
            f(
                "partition_responses",
                Rows(&[
                    f("index", I32, 0),
                    f("error_code", I16, 0),
                    f("base_offset", I64, 0),
                    f("log_append_time_ms", I64, 2),
                    f("log_start_offset", I64, 5),
                    f(
                        "record_errors",
                        Rows(&[f("batch_index", I32, 8), f("batch_index_error_message", Str, 8)]),
                        8,
                    ),
                    f("error_message", Str, 8),
                    f("current_leader", Struct(LEADER), 10).tag(0),
                ]),
                0,
            ),
        ]),
        0,
    ),
    f("throttle_time_ms", I32, 1),
    f("node_endpoints", Rows(ENDPOINTS), 10).tag(0),
];

pub const FETCH_REQUEST: &[Field] = &[
    f("cluster_id", Str, 12).tag(0),
    f("replica_id", I32, 0).to(14),
    f("replica_state", Struct(&[f("replica_id", I32, 0), f("replica_epoch", I64, 0)]), 15).tag(1),
    f("max_wait_ms", I32, 0),
    f("min_bytes", I32, 0),
    f("max_bytes", I32, 3),
    f("isolation_level", I8, 4),
    f("session_id", I32, 7),
    f("session_epoch", I32, 7),
    f(
        "topics",
        Rows(&[
            f("topic", Str, 0).to(12),
            f("topic_id", Uuid, 13),
            f(
                "partitions",
                Rows(&[
                    f("partition", I32, 0),
                    f("current_leader_epoch", I32, 9),
                    f("fetch_offset", I64, 0),
                    f("last_fetched_epoch", I32, 12),
                    f("log_start_offset", I64, 5),
                    f("partition_max_bytes", I32, 0),
                    f("replica_directory_id", Uuid, 17).tag(0),
                    f("high_watermark", I64, 18).tag(1),
                ]),
                0,
            ),
        ]),
        0,
    ),
    f(
        "forgotten_topics_data",
        Rows(&[f("topic", Str, 7).to(12), f("topic_id", Uuid, 13), f("partitions", Ints, 7)]),
        7,
    ),
    f("rack_id", Str, 11),
];

pub const FETCH_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 1),
    f("error_code", I16, 7),
    f("session_id", I32, 7),
    f(
        "responses",
        Rows(&[
            f("topic", Str, 0).to(12),
            f("topic_id", Uuid, 13),
            f(
                "partitions",
                Rows(&[
                    f("partition_index", I32, 0),
                    f("error_code", I16, 0),
                    f("high_watermark", I64, 0),
                    f("last_stable_offset", I64, 4),
                    f("log_start_offset", I64, 5),
                    f("diverging_epoch", Struct(&[f("epoch", I32, 0), f("end_offset", I64, 0)]), 12).tag(0),
                    f("current_leader", Struct(LEADER), 12).tag(1),
                    f("snapshot_id", Struct(&[f("end_offset", I64, 0), f("epoch", I32, 0)]), 12).tag(2),
                    f(
                        "aborted_transactions",
                        Rows(&[f("producer_id", I64, 0), f("first_offset", I64, 0)]),
                        4,
                    ),
                    f("preferred_read_replica", I32, 11),
                    f("records", Records, 0),
                ]),
                0,
            ),
        ]),
        0,
    ),
    f("node_endpoints", Rows(ENDPOINTS), 16).tag(0),
];

pub const LIST_OFFSETS_REQUEST: &[Field] = &[
    f("replica_id", I32, 0),
    f("isolation_level", I8, 2),
    f(
        "topics",
        Rows(&[
            f("name", Str, 0),
            f(
                "partitions",
                Rows(&[
                    f("partition_index", I32, 0),
                    f("current_leader_epoch", I32, 4),
                    f("timestamp", I64, 0),
                    f("max_num_offsets", I32, 0).to(0),
                ]),
                0,
            ),
        ]),
        0,
    ),
    f("timeout_ms", I32, 10),
];

pub const LIST_OFFSETS_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 2),
    f(
        "topics",
        Rows(&[
            f("name", Str, 0),
            f(
                "partitions",
                Rows(&[
                    f("partition_index", I32, 0),
                    f("error_code", I16, 0),
                    f("old_style_offsets", Longs, 0).to(0),
                    f("timestamp", I64, 1),
                    f("offset", I64, 1),
                    f("leader_epoch", I32, 4),
                ]),
                0,
            ),
        ]),
        0,
    ),
];

pub const METADATA_REQUEST: &[Field] = &[
    f("topics", Rows(&[f("topic_id", Uuid, 10), f("name", Str, 0)]), 0),
    f("allow_auto_topic_creation", Bool, 4),
    f("include_cluster_authorized_operations", Bool, 8).to(10),
    f("include_topic_authorized_operations", Bool, 8),
];

pub const METADATA_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 3),
    f("brokers", Rows(&[f("node_id", I32, 0), f("host", Str, 0), f("port", I32, 0), f("rack", Str, 1)]), 0),
    f("cluster_id", Str, 2),
    f("controller_id", I32, 1),
    f(
        "topics",
        Rows(&[
            f("error_code", I16, 0),
            f("name", Str, 0),
            f("topic_id", Uuid, 10),
            f("is_internal", Bool, 1),
            f(
                "partitions",
                Rows(&[
                    f("error_code", I16, 0),
                    f("partition_index", I32, 0),
                    f("leader_id", I32, 0),
                    f("leader_epoch", I32, 7),
                    f("replica_nodes", Ints, 0),
                    f("isr_nodes", Ints, 0),
                    f("offline_replicas", Ints, 5),
                ]),
                0,
            ),
            f("topic_authorized_operations", I32, 8),
        ]),
        0,
    ),
    f("cluster_authorized_operations", I32, 8).to(10),
    f("error_code", I16, 13),
];

pub const OFFSET_COMMIT_REQUEST: &[Field] = &[
    f("group_id", Str, 0),
    f("generation_id_or_member_epoch", I32, 1),
    f("member_id", Str, 1),
    f("group_instance_id", Str, 7),
    f("retention_time_ms", I64, 2).to(4),
    f(
        "topics",
        Rows(&[
            f("name", Str, 0).to(9),
            f("topic_id", Uuid, 10),
            f(
                "partitions",
                Rows(&[
                    f("partition_index", I32, 0),
                    f("committed_offset", I64, 0),
                    f("committed_leader_epoch", I32, 6),
                    f("commit_timestamp", I64, 1).to(1),
                    f("committed_metadata", Str, 0),
                ]),
                0,
            ),
        ]),
        0,
    ),
];

pub const OFFSET_COMMIT_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 3),
    f(
        "topics",
        Rows(&[
            f("name", Str, 0).to(9),
            f("topic_id", Uuid, 10),
            f("partitions", Rows(&[f("partition_index", I32, 0), f("error_code", I16, 0)]), 0),
        ]),
        0,
    ),
];

pub const OFFSET_FETCH_REQUEST: &[Field] = &[
    f("group_id", Str, 0).to(7),
    f("topics", Rows(&[f("name", Str, 0), f("partition_indexes", Ints, 0)]), 0).to(7),
    f(
        "groups",
        Rows(&[
            f("group_id", Str, 8),
            f("member_id", Str, 9),
            f("member_epoch", I32, 9),
            f(
                "topics",
                Rows(&[f("name", Str, 8).to(9), f("topic_id", Uuid, 10), f("partition_indexes", Ints, 8)]),
                8,
            ),
        ]),
        8,
    ),
    f("require_stable", Bool, 7),
];

const FETCHED_OFFSETS: &[Field] = &[
    f("partition_index", I32, 0),
    f("committed_offset", I64, 0),
    f("committed_leader_epoch", I32, 5),
    f("metadata", Str, 0),
    f("error_code", I16, 0),
];

pub const OFFSET_FETCH_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 3),
    f("topics", Rows(&[f("name", Str, 0), f("partitions", Rows(FETCHED_OFFSETS), 0)]), 0).to(7),
    f("error_code", I16, 2).to(7),
    f(
        "groups",
        Rows(&[
            f("group_id", Str, 8),
            f(
                "topics",
                Rows(&[
                    f("name", Str, 8).to(9),
                    f("topic_id", Uuid, 10),
                    f("partitions", Rows(FETCHED_OFFSETS), 8),
                ]),
                8,
            ),
            f("error_code", I16, 8),
        ]),
        8,
    ),
];

pub const FIND_COORDINATOR_REQUEST: &[Field] =
    &[f("key", Str, 0).to(3), f("key_type", I8, 1), f("coordinator_keys", Strs, 4)];

pub const FIND_COORDINATOR_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 1),
    f("error_code", I16, 0).to(3),
    f("error_message", Str, 1).to(3),
    f("node_id", I32, 0).to(3),
    f("host", Str, 0).to(3),
    f("port", I32, 0).to(3),
    f(
        "coordinators",
        Rows(&[
            f("key", Str, 4),
            f("node_id", I32, 4),
            f("host", Str, 4),
            f("port", I32, 4),
            f("error_code", I16, 4),
            f("error_message", Str, 4),
        ]),
        4,
    ),
];

pub const JOIN_GROUP_REQUEST: &[Field] = &[
    f("group_id", Str, 0),
    f("session_timeout_ms", I32, 0),
    f("rebalance_timeout_ms", I32, 1),
    f("member_id", Str, 0),
    f("group_instance_id", Str, 5),
    f("protocol_type", Str, 0),
    f("protocols", Rows(&[f("name", Str, 0), f("metadata", Bytes, 0)]), 0),
    f("reason", Str, 8),
];

pub const JOIN_GROUP_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 2),
    f("error_code", I16, 0),
    f("generation_id", I32, 0),
    f("protocol_type", Str, 7),
    f("protocol_name", Str, 0),
    f("leader", Str, 0),
    f("skip_assignment", Bool, 9),
    f("member_id", Str, 0),
    f("members", Rows(&[f("member_id", Str, 0), f("group_instance_id", Str, 5), f("metadata", Bytes, 0)]), 0),
];

pub const HEARTBEAT_REQUEST: &[Field] = &[
    f("group_id", Str, 0),
    f("generation_id", I32, 0),
    f("member_id", Str, 0),
    f("group_instance_id", Str, 3),
];

pub const HEARTBEAT_RESPONSE: &[Field] = &[f("throttle_time_ms", I32, 1), f("error_code", I16, 0)];

pub const LEAVE_GROUP_REQUEST: &[Field] = &[
    f("group_id", Str, 0),
    f("member_id", Str, 0).to(2),
    f("members", Rows(&[f("member_id", Str, 3), f("group_instance_id", Str, 3), f("reason", Str, 5)]), 3),
];

pub const LEAVE_GROUP_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 1),
    f("error_code", I16, 0),
    f("members", Rows(&[f("member_id", Str, 3), f("group_instance_id", Str, 3), f("error_code", I16, 3)]), 3),
];

pub const SYNC_GROUP_REQUEST: &[Field] = &[
    f("group_id", Str, 0),
    f("generation_id", I32, 0),
    f("member_id", Str, 0),
    f("group_instance_id", Str, 3),
    f("protocol_type", Str, 5),
    f("protocol_name", Str, 5),
    f("assignments", Rows(&[f("member_id", Str, 0), f("assignment", Bytes, 0)]), 0),
];

pub const SYNC_GROUP_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 1),
    f("error_code", I16, 0),
    f("protocol_type", Str, 5),
    f("protocol_name", Str, 5),
    f("assignment", Bytes, 0),
];

pub const SASL_HANDSHAKE_REQUEST: &[Field] = &[f("mechanism", Str, 0)];

pub const SASL_HANDSHAKE_RESPONSE: &[Field] = &[f("error_code", I16, 0), f("mechanisms", Strs, 0)];

pub const SASL_AUTHENTICATE_REQUEST: &[Field] = &[f("auth_bytes", Bytes, 0)];

pub const SASL_AUTHENTICATE_RESPONSE: &[Field] = &[
    f("error_code", I16, 0),
    f("error_message", Str, 0),
    f("auth_bytes", Bytes, 0),
    f("session_lifetime_ms", I64, 1),
];

pub const API_VERSIONS_REQUEST: &[Field] =
    &[f("client_software_name", Str, 3), f("client_software_version", Str, 3)];

pub const API_VERSIONS_RESPONSE: &[Field] = &[
    f("error_code", I16, 0),
    f("api_keys", Rows(&[f("api_key", I16, 0), f("min_version", I16, 0), f("max_version", I16, 0)]), 0),
    f("throttle_time_ms", I32, 1),
    f(
        "supported_features",
        Rows(&[f("name", Str, 3), f("min_version", I16, 3), f("max_version", I16, 3)]),
        3,
    )
    .tag(0),
    f("finalized_features_epoch", I64, 3).tag(1),
    f(
        "finalized_features",
        Rows(&[f("name", Str, 3), f("max_version_level", I16, 3), f("min_version_level", I16, 3)]),
        3,
    )
    .tag(2),
    f("zk_migration_ready", Bool, 3).tag(3),
];

pub const CREATE_TOPICS_REQUEST: &[Field] = &[
    f(
        "topics",
        Rows(&[
            f("name", Str, 0),
            f("num_partitions", I32, 0),
            f("replication_factor", I16, 0),
            f("assignments", Rows(&[f("partition_index", I32, 0), f("broker_ids", Ints, 0)]), 0),
            f("configs", Rows(&[f("name", Str, 0), f("value", Str, 0)]), 0),
        ]),
        0,
    ),
    f("timeout_ms", I32, 0),
    f("validate_only", Bool, 1),
];

pub const CREATE_TOPICS_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 2),
    f(
        "topics",
        Rows(&[
            f("name", Str, 0),
            f("topic_id", Uuid, 7),
            f("error_code", I16, 0),
            f("error_message", Str, 1),
            f("topic_config_error_code", I16, 5).tag(0),
            f("num_partitions", I32, 5),
            f("replication_factor", I16, 5),
            f(
                "configs",
                Rows(&[
                    f("name", Str, 5),
                    f("value", Str, 5),
                    f("read_only", Bool, 5),
                    f("config_source", I8, 5),
                    f("is_sensitive", Bool, 5),
                ]),
                5,
            ),
        ]),
        0,
    ),
];

pub const DELETE_TOPICS_REQUEST: &[Field] = &[
    f("topics", Rows(&[f("name", Str, 6), f("topic_id", Uuid, 6)]), 6),
    f("topic_names", Strs, 0).to(5),
    f("timeout_ms", I32, 0),
];

pub const DELETE_TOPICS_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 1),
    f(
        "responses",
        Rows(&[
            f("name", Str, 0),
            f("topic_id", Uuid, 6),
            f("error_code", I16, 0),
            f("error_message", Str, 5),
        ]),
        0,
    ),
];

pub const INIT_PRODUCER_ID_REQUEST: &[Field] = &[
    f("transactional_id", Str, 0),
    f("transaction_timeout_ms", I32, 0),
    f("producer_id", I64, 3),
    f("producer_epoch", I16, 3),
];

pub const INIT_PRODUCER_ID_RESPONSE: &[Field] = &[
    f("throttle_time_ms", I32, 0),
    f("error_code", I16, 0),
    f("producer_id", I64, 0),
    f("producer_epoch", I16, 0),
];
