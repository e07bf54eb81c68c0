//! Names of numbers in TLS, as IANA registers them
//! (<https://www.iana.org/assignments/tls-parameters>, <https://www.iana.org/assignments/tls-extensiontype-values>).

use std::borrow::Cow;

/// A number without a name.
pub fn unknown(number: u16) -> Cow<'static, str> {
    format!("0x{number:04x}").into()
}

/// Values that clients send to keep servers from choking on what they do not know (RFC 8701, section 2).
pub fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn look_up(table: &[(u16, &'static str)], number: u16) -> Cow<'static, str> {
    if is_grease(number) {
        return "GREASE".into();
    }
    match table.iter().find(|row| row.0 == number) {
        Some(row) => row.1.into(),
        None => unknown(number),
    }
}

/// A version of the protocol: `TLS 1.2`. Drafts of TLS 1.3 had numbers of their own.
pub fn version(number: u16) -> Cow<'static, str> {
    match number {
        0x0002 => "SSL 2.0".into(),
        0x0300 => "SSL 3.0".into(),
        0x0301..=0x0304 => format!("TLS 1.{}", number - 0x0301).into(),
        0x7f00..=0x7fff => format!("TLS 1.3 draft {}", number & 0xff).into(),
        // Deployments of Facebook and Google before the standard.
        0xfb17 | 0xfb1a => format!("TLS 1.3 draft {} (Facebook)", number & 0xff).into(),
        0x7e01..=0x7e03 => format!("TLS 1.3 experiment {}", number & 0xff).into(),
        _ if is_grease(number) => "GREASE".into(),
        _ => unknown(number),
    }
}

/// True for TLS 1.3 and what came before it was finished.
pub fn is_13(version: u16) -> bool {
    matches!(version, 0x0304 | 0x7e00..=0x7fff | 0xfb00..=0xfbff)
}

/// The name of a cipher suite.
pub fn suite(number: u16) -> Cow<'static, str> {
    if is_grease(number) { "GREASE".into() } else { super::suites::name(number) }
}

/// The name of a handshake message (RFC 8446, section 4; RFC 5246, section 7.4), absent for other types.
pub fn handshake(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0 => "HelloRequest",
        1 => "ClientHello",
        2 => "ServerHello",
        3 => "HelloVerifyRequest",
        4 => "NewSessionTicket",
        5 => "EndOfEarlyData",
        6 => "HelloRetryRequest",
        8 => "EncryptedExtensions",
        11 => "Certificate",
        12 => "ServerKeyExchange",
        13 => "CertificateRequest",
        14 => "ServerHelloDone",
        15 => "CertificateVerify",
        16 => "ClientKeyExchange",
        20 => "Finished",
        21 => "CertificateURL",
        22 => "CertificateStatus",
        23 => "SupplementalData",
        24 => "KeyUpdate",
        25 => "CompressedCertificate",
        67 => "NextProtocol",
        203 => "EncryptedExtensions (channel ID)",
        _ => return None,
    })
}

/// The name of an alert (RFC 8446, section 6; RFC 5246, section 7.2).
pub fn alert(description: u8) -> Cow<'static, str> {
    let name = match description {
        0 => "close_notify",
        1 => "end_of_early_data",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => return format!("alert {description}").into(),
    };
    name.into()
}

/// The name of an extension.
pub fn extension(number: u16) -> Cow<'static, str> {
    look_up(EXTENSIONS, number)
}

/// The name of a group for key exchange (TLS Supported Groups).
pub fn group(number: u16) -> Cow<'static, str> {
    look_up(GROUPS, number)
}

/// The name of a signature scheme; of TLS 1.2, that of its hash and signature algorithms.
pub fn signature(number: u16) -> Cow<'static, str> {
    look_up(SIGNATURES, number)
}

const EXTENSIONS: &[(u16, &str)] = &[
    (0, "server_name"),
    (1, "max_fragment_length"),
    (2, "client_certificate_url"),
    (3, "trusted_ca_keys"),
    (4, "truncated_hmac"),
    (5, "status_request"),
    (6, "user_mapping"),
    (7, "client_authz"),
    (8, "server_authz"),
    (9, "cert_type"),
    (10, "supported_groups"),
    (11, "ec_point_formats"),
    (12, "srp"),
    (13, "signature_algorithms"),
    (14, "use_srtp"),
    (15, "heartbeat"),
    (16, "application_layer_protocol_negotiation"),
    (17, "status_request_v2"),
    (18, "signed_certificate_timestamp"),
    (19, "client_certificate_type"),
    (20, "server_certificate_type"),
    (21, "padding"),
    (22, "encrypt_then_mac"),
    (23, "extended_master_secret"),
    (24, "token_binding"),
    (25, "cached_info"),
    (26, "tls_lts"),
    (27, "compress_certificate"),
    (28, "record_size_limit"),
    (29, "pwd_protect"),
    (30, "pwd_clear"),
    (31, "password_salt"),
    (32, "ticket_pinning"),
    (33, "tls_cert_with_extern_psk"),
    (34, "delegated_credential"),
    (35, "session_ticket"),
    (36, "TLMSP"),
    (37, "TLMSP_proxying"),
    (38, "TLMSP_delegate"),
    (39, "supported_ekt_ciphers"),
    (40, "key_share (drafts)"),
    (41, "pre_shared_key"),
    (42, "early_data"),
    (43, "supported_versions"),
    (44, "cookie"),
    (45, "psk_key_exchange_modes"),
    (47, "certificate_authorities"),
    (48, "oid_filters"),
    (49, "post_handshake_auth"),
    (50, "signature_algorithms_cert"),
    (51, "key_share"),
    (52, "transparency_info"),
    (54, "connection_id"),
    (55, "external_id_hash"),
    (56, "external_session_id"),
    (57, "quic_transport_parameters"),
    (58, "ticket_request"),
    (59, "dnssec_chain"),
    (60, "sequence_number_encryption_algorithms"),
    (61, "rrc"),
    (62, "tls_flags"),
    (13172, "next_protocol_negotiation"),
    (17513, "application_settings (draft)"),
    (17613, "application_settings"),
    (30031, "channel_id (draft)"),
    (30032, "channel_id"),
    (64768, "ech_outer_extensions"),
    (65037, "encrypted_client_hello"),
    (65281, "renegotiation_info"),
    (65486, "encrypted_server_name"),
];

const GROUPS: &[(u16, &str)] = &[
    (1, "sect163k1"),
    (2, "sect163r1"),
    (3, "sect163r2"),
    (4, "sect193r1"),
    (5, "sect193r2"),
    (6, "sect233k1"),
    (7, "sect233r1"),
    (8, "sect239k1"),
    (9, "sect283k1"),
    (10, "sect283r1"),
    (11, "sect409k1"),
    (12, "sect409r1"),
    (13, "sect571k1"),
    (14, "sect571r1"),
    (15, "secp160k1"),
    (16, "secp160r1"),
    (17, "secp160r2"),
    (18, "secp192k1"),
    (19, "secp192r1"),
    (20, "secp224k1"),
    (21, "secp224r1"),
    (22, "secp256k1"),
    (23, "secp256r1"),
    (24, "secp384r1"),
    (25, "secp521r1"),
    (26, "brainpoolP256r1"),
    (27, "brainpoolP384r1"),
    (28, "brainpoolP512r1"),
    (29, "x25519"),
    (30, "x448"),
    (31, "brainpoolP256r1tls13"),
    (32, "brainpoolP384r1tls13"),
    (33, "brainpoolP512r1tls13"),
    (34, "GC256A"),
    (35, "GC256B"),
    (36, "GC256C"),
    (37, "GC256D"),
    (38, "GC512A"),
    (39, "GC512B"),
    (40, "GC512C"),
    (41, "curveSM2"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x0103, "ffdhe6144"),
    (0x0104, "ffdhe8192"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x6399, "X25519Kyber768Draft00"),
    (0x639a, "SecP256r1Kyber768Draft00"),
    (0xff01, "arbitrary_explicit_prime_curves"),
    (0xff02, "arbitrary_explicit_char2_curves"),
];

const SIGNATURES: &[(u16, &str)] = &[
    (0x0101, "rsa_md5"),
    (0x0201, "rsa_pkcs1_sha1"),
    (0x0202, "dsa_sha1"),
    (0x0203, "ecdsa_sha1"),
    (0x0301, "rsa_sha224"),
    (0x0302, "dsa_sha224"),
    (0x0303, "ecdsa_sha224"),
    (0x0401, "rsa_pkcs1_sha256"),
    (0x0402, "dsa_sha256"),
    (0x0403, "ecdsa_secp256r1_sha256"),
    (0x0420, "rsa_pkcs1_sha256_legacy"),
    (0x0501, "rsa_pkcs1_sha384"),
    (0x0502, "dsa_sha384"),
    (0x0503, "ecdsa_secp384r1_sha384"),
    (0x0520, "rsa_pkcs1_sha384_legacy"),
    (0x0601, "rsa_pkcs1_sha512"),
    (0x0602, "dsa_sha512"),
    (0x0603, "ecdsa_secp521r1_sha512"),
    (0x0620, "rsa_pkcs1_sha512_legacy"),
    (0x0708, "sm2sig_sm3"),
    (0x0804, "rsa_pss_rsae_sha256"),
    (0x0805, "rsa_pss_rsae_sha384"),
    (0x0806, "rsa_pss_rsae_sha512"),
    (0x0807, "ed25519"),
    (0x0808, "ed448"),
    (0x0809, "rsa_pss_pss_sha256"),
    (0x080a, "rsa_pss_pss_sha384"),
    (0x080b, "rsa_pss_pss_sha512"),
    (0x081a, "ecdsa_brainpoolP256r1tls13_sha256"),
    (0x081b, "ecdsa_brainpoolP384r1tls13_sha384"),
    (0x081c, "ecdsa_brainpoolP512r1tls13_sha512"),
    (0x0904, "mldsa44"),
    (0x0905, "mldsa65"),
    (0x0906, "mldsa87"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixteen_values_of_rfc_8701_are_grease() {
        let found: Vec<u16> = (0..=u16::MAX).filter(|&number| is_grease(number)).collect();
        assert_eq!(found.len(), 16);
        assert_eq!((found[0], found[1], found[15]), (0x0a0a, 0x1a1a, 0xfafa));
    }

    #[test]
    fn versions_are_named_drafts_included() {
        let names = [0x0002, 0x0300, 0x0301, 0x0303, 0x0304, 0x7f1c, 0xfb1a, 0x2a2a, 0x0305].map(version);
        let expected = [
            "SSL 2.0",
            "SSL 3.0",
            "TLS 1.0",
            "TLS 1.2",
            "TLS 1.3",
            "TLS 1.3 draft 28",
            "TLS 1.3 draft 26 (Facebook)",
            "GREASE",
            "0x0305",
        ];
        assert_eq!(names, expected);
    }
}
