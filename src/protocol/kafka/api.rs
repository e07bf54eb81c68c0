//! The table of APIs: their names, versions and headers (<https://kafka.apache.org/protocol#protocol_api_keys>), and of those
//! that are decoded the schemas.

use super::schema::{self, Field};

/// No version is flexible.
const NEVER: i16 = i16::MAX;

/// One API.
#[derive(Debug)]
pub struct Api {
    pub key: i16,
    pub name: &'static str,
    /// The newest version that is known.
    pub newest: i16,
    /// From this version on, headers and bodies have tagged fields and compact lengths (KIP-482).
    pub flexible: i16,
    /// Request and response, where they are decoded.
    pub schemas: Option<[&'static [Field]; 2]>,
}

impl Api {
    /// True where a version has tagged fields. A version newer than those that are known has, unless none of them has.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }

    /// True where a response's header has tagged fields: those of ApiVersions never have, since who asks does not
    /// know yet what the broker can.
    pub fn has_flexible_response_header(&self, version: i16) -> bool {
        self.key != API_VERSIONS && self.is_flexible(version)
    }

    /// True where a message can end with these bytes behind its last field: none, but for the empty array that
    /// librdkafka before 0.11 sends with the first versions of ApiVersions.
    pub fn ends(&self, version: i16, rest: &[u8]) -> bool {
        rest.is_empty() || self.key == API_VERSIONS && version < self.flexible && rest == [0; 4]
    }

    /// True where a request's header names the client: all but the first version of ControlledShutdown.
    pub fn has_client_id(&self, version: i16) -> bool {
        (self.key, version) != (7, 0)
    }
}

pub const PRODUCE: i16 = 0;
pub const SASL_HANDSHAKE: i16 = 17;
pub const API_VERSIONS: i16 = 18;

/// A known API.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}

/// Declares the table: `key name newest flexible`, and the schemas where there are some.
macro_rules! apis {
    ($($key:literal $name:ident $newest:literal $flexible:tt $([$request:ident $response:ident])?;)*) => {
        const APIS: &[Api] = &[$(
            Api {
                key: $key,
                name: stringify!($name),
                newest: $newest,
                flexible: $flexible,
                schemas: apis!(@schemas $($request $response)?),
            },
        )*];
    };
    (@schemas) => { None };
    (@schemas $request:ident $response:ident) => { Some([schema::$request, schema::$response]) };
}

apis! {
    0 Produce 13 9 [PRODUCE_REQUEST PRODUCE_RESPONSE];
    1 Fetch 18 12 [FETCH_REQUEST FETCH_RESPONSE];
    2 ListOffsets 11 6 [LIST_OFFSETS_REQUEST LIST_OFFSETS_RESPONSE];
    3 Metadata 13 9 [METADATA_REQUEST METADATA_RESPONSE];
    4 LeaderAndIsr 7 4;
    5 StopReplica 4 2;
    6 UpdateMetadata 8 6;
    7 ControlledShutdown 3 3;
    8 OffsetCommit 10 8 [OFFSET_COMMIT_REQUEST OFFSET_COMMIT_RESPONSE];
    9 OffsetFetch 10 6 [OFFSET_FETCH_REQUEST OFFSET_FETCH_RESPONSE];
    10 FindCoordinator 6 3 [FIND_COORDINATOR_REQUEST FIND_COORDINATOR_RESPONSE];
    11 JoinGroup 9 6 [JOIN_GROUP_REQUEST JOIN_GROUP_RESPONSE];
    12 Heartbeat 4 4 [HEARTBEAT_REQUEST HEARTBEAT_RESPONSE];
    13 LeaveGroup 5 4 [LEAVE_GROUP_REQUEST LEAVE_GROUP_RESPONSE];
    14 SyncGroup 5 4 [SYNC_GROUP_REQUEST SYNC_GROUP_RESPONSE];
    15 DescribeGroups 6 5;
    16 ListGroups 5 3;
    17 SaslHandshake 1 NEVER [SASL_HANDSHAKE_REQUEST SASL_HANDSHAKE_RESPONSE];
    18 ApiVersions 4 3 [API_VERSIONS_REQUEST API_VERSIONS_RESPONSE];
    19 CreateTopics 7 5 [CREATE_TOPICS_REQUEST CREATE_TOPICS_RESPONSE];
    20 DeleteTopics 6 4 [DELETE_TOPICS_REQUEST DELETE_TOPICS_RESPONSE];
    21 DeleteRecords 2 2;
    22 InitProducerId 5 2 [INIT_PRODUCER_ID_REQUEST INIT_PRODUCER_ID_RESPONSE];
    23 OffsetForLeaderEpoch 4 4;
    24 AddPartitionsToTxn 5 3;
    25 AddOffsetsToTxn 4 3;
    26 EndTxn 5 3;
    27 WriteTxnMarkers 1 1;
    28 TxnOffsetCommit 5 3;
    29 DescribeAcls 3 2;
    30 CreateAcls 3 2;
    31 DeleteAcls 3 2;
    32 DescribeConfigs 4 4;
    33 AlterConfigs 2 2;
    34 AlterReplicaLogDirs 2 2;
    35 DescribeLogDirs 4 2;
    36 SaslAuthenticate 2 2 [SASL_AUTHENTICATE_REQUEST SASL_AUTHENTICATE_RESPONSE];
    37 CreatePartitions 3 2;
    38 CreateDelegationToken 3 2;
    39 RenewDelegationToken 2 2;
    40 ExpireDelegationToken 2 2;
    41 DescribeDelegationToken 3 2;
    42 DeleteGroups 2 2;
    43 ElectLeaders 2 2;
    44 IncrementalAlterConfigs 1 1;
    45 AlterPartitionReassignments 1 0;
    46 ListPartitionReassignments 0 0;
    47 OffsetDelete 0 NEVER;
    48 DescribeClientQuotas 1 1;
    49 AlterClientQuotas 1 1;
    50 DescribeUserScramCredentials 0 0;
    51 AlterUserScramCredentials 0 0;
    52 Vote 2 0;
    53 BeginQuorumEpoch 1 1;
    54 EndQuorumEpoch 1 1;
    55 DescribeQuorum 2 0;
    56 AlterPartition 3 0;
    57 UpdateFeatures 2 0;
    58 Envelope 0 0;
    59 FetchSnapshot 1 0;
    60 DescribeCluster 2 0;
    61 DescribeProducers 0 0;
    62 BrokerRegistration 4 0;
    63 BrokerHeartbeat 1 0;
    64 UnregisterBroker 0 0;
    65 DescribeTransactions 0 0;
    66 ListTransactions 2 0;
    67 AllocateProducerIds 0 0;
    68 ConsumerGroupHeartbeat 1 0;
    69 ConsumerGroupDescribe 1 0;
    70 ControllerRegistration 0 0;
    71 GetTelemetrySubscriptions 0 0;
    72 PushTelemetry 0 0;
    73 AssignReplicasToDirs 0 0;
    74 ListConfigResources 1 0;
    75 DescribeTopicPartitions 0 0;
    76 ShareGroupHeartbeat 1 0;
    77 ShareGroupDescribe 1 0;
    78 ShareFetch 2 0;
    79 ShareAcknowledge 2 0;
    80 AddRaftVoter 1 0;
    81 RemoveRaftVoter 0 0;
    82 UpdateRaftVoter 0 0;
    83 InitializeShareGroupState 0 0;
    84 ReadShareGroupState 0 0;
    85 WriteShareGroupState 1 0;
    86 DeleteShareGroupState 0 0;
    87 ReadShareGroupStateSummary 1 0;
    88 StreamsGroupHeartbeat 0 0;
    89 StreamsGroupDescribe 0 0;
    90 DescribeShareGroupOffsets 1 0;
    91 AlterShareGroupOffsets 0 0;
    92 DeleteShareGroupOffsets 0 0;
}
