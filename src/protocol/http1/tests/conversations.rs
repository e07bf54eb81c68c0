//! Conversations with the records that have to come of them, written from RFC 9110 and RFC 9112.

use super::driver::Piece;
use crate::event::Direction;
use crate::protocol::End;

/// A conversation of a client (`>`) with a server (`<`).
pub(crate) struct Conversation {
    pub(crate) name: &'static str,
    /// What is sent in turn; each line is one event.
    events: &'static [(char, &'static str)],
    /// Status and summary of each record.
    pub(crate) records: &'static [&'static str],
    pub(crate) end: End,
    /// The client waits for each response before its next request, and both speak more than once.
    pub(crate) lockstep: bool,
    /// A body quotes a message, which a hole in front of it turns into one.
    pub(crate) quotes: bool,
}

impl Conversation {
    /// The events from the client's point of view.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let piece = |&(who, text): &(char, &str)| Piece {
            direction: if who == '>' { Direction::Send } else { Direction::Recv },
            bytes: text.as_bytes().to_vec(),
            lost: false,
        };
        self.events.iter().map(piece).collect()
    }
}

/// Bytes in each direction.
pub(crate) fn lengths(pieces: &[Piece]) -> [(Direction, u64); 2] {
    Direction::BOTH.map(|direction| {
        let pieces = pieces.iter().filter(|piece| piece.direction == direction);
        (direction, pieces.map(|piece| piece.bytes.len() as u64).sum())
    })
}

/// A conversation that ends with [`End::Closed`].
const fn talk(
    name: &'static str,
    events: &'static [(char, &'static str)],
    records: &'static [&'static str],
) -> Conversation {
    Conversation { name, events, records, end: End::Closed, lockstep: false, quotes: false }
}

const fn lockstep(conversation: Conversation) -> Conversation {
    Conversation { lockstep: true, ..conversation }
}

pub(crate) const CONVERSATIONS: &[Conversation] = &[
    lockstep(talk(
        "keep-alive",
        &[
            ('>', "GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            ('>', "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\na=1&b=2"),
            ('<', "HTTP/1.1 303 See Other\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"),
            ('>', "GET /b HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nno such page"),
            ('>', "GET /c HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye"),
        ],
        &[
            "complete: 200 GET /a?b=1 5 B",
            "complete: 303 POST /form 0 B",
            "complete: 404 GET /b 12 B",
            "complete: 200 GET /c 3 B",
        ],
    )),
    talk(
        "pipelining in one event",
        &[
            (
                '>',
                "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /3 HTTP/1.1\r\nHost: x\r\n\r\nGET /4 HTTP/1.1\r\nHost: x\r\n\r\n",
            ),
            (
                '<',
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n22HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\nHTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
            ),
        ],
        &[
            "complete: 200 GET /1 1 B",
            "complete: 200 GET /2 2 B",
            "complete: 200 HEAD /3 0 B",
            "complete: 204 GET /4 0 B",
        ],
    ),
    talk(
        "pipelining in several events",
        &[
            ('>', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('>', "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('>', "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n22"),
            ('>', "GET /4 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n333"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n4444"),
        ],
        &[
            "complete: 200 GET /1 1 B",
            "complete: 200 GET /2 2 B",
            "complete: 200 GET /3 3 B",
            "complete: 200 GET /4 4 B",
        ],
    ),
    talk(
        "one request first, then pipelining",
        &[
            ('>', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
            ('>', "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('>', "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('>', "GET /4 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n22"),
            ('>', "GET /5 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n333"),
            ('>', "GET /6 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n4444"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n55555"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n666666"),
        ],
        &[
            "complete: 200 GET /1 1 B",
            "complete: 200 GET /2 2 B",
            "complete: 200 GET /3 3 B",
            "complete: 200 GET /4 4 B",
            "complete: 200 GET /5 5 B",
            "complete: 200 GET /6 6 B",
        ],
    ),
    talk(
        "a pipeline of two that is kept full",
        &[
            ('>', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('>', "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
            ('>', "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n22"),
            ('>', "GET /4 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n333"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n4444"),
        ],
        &[
            "complete: 200 GET /1 1 B",
            "complete: 200 GET /2 2 B",
            "complete: 200 GET /3 3 B",
            "complete: 200 GET /4 4 B",
        ],
    ),
    lockstep(talk(
        "chunked both ways, with extensions and trailers",
        &[
            (
                '>',
                "PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n5;a=\"b\"\r\nhello\r\n",
            ),
            ('>', "6\r\n world\r\n0;last\r\nSum: 42\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 ;x\r\nabc\r\n00\r\n\r\n"),
            ('>', "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"),
            (
                '<',
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\nContent-Length: 99\r\n\r\n1\r\nz\r\n0\r\n\r\n",
            ),
        ],
        &["complete: 200 PUT /up 3 B", "complete: 200 GET /2 1 B"],
    )),
    lockstep(talk(
        "no body",
        &[
            ('>', "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
            ('>', "GET /same HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"1\"\r\n\r\n"),
            ('<', "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
            ('>', "DELETE /d HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n"),
        ],
        &["complete: 200 HEAD /h 0 B", "complete: 304 GET /same 0 B", "complete: 204 DELETE /d 0 B"],
    )),
    talk(
        "interim responses",
        &[
            ('>', "PUT /c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
            ('<', "HTTP/1.1 100 Continue\r\n\r\n"),
            ('>', "data"),
            (
                '<',
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
            ),
            ('>', "GET /d HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbye"),
        ],
        &["complete: 201 PUT /c 2 B", "complete: 200 GET /d 3 B"],
    ),
    talk(
        "an answer before the request is whole",
        &[
            ('>', "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"),
            ('<', "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"),
            ('>', "67890"),
            ('>', "GET /n HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nn"),
        ],
        &["complete: 413 POST /big 0 B", "complete: 200 GET /n 1 B"],
    ),
    talk(
        "upgrade",
        &[
            ('>', "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            (
                '<',
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x01\x02",
            ),
            ('>', "\x03\x04\x05"),
        ],
        &["complete: 101 GET /ws 0 B"],
    ),
    talk(
        "upgrade refused",
        &[
            ('>', "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"),
            ('>', "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"),
        ],
        &["complete: 200 GET /ws 2 B", "complete: 200 GET /plain 3 B"],
    ),
    talk(
        "connect, whose first bytes come early",
        &[
            ('>', "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n\x16\x03\x01"),
            ('<', "HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x03"),
        ],
        &["complete: 200 CONNECT h:443 0 B"],
    ),
    talk(
        "connect refused",
        &[
            ('>', "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"),
            ('<', "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"),
            ('>', "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\n\r\n"),
        ],
        &["complete: 407 CONNECT h:443 2 B", "complete: 200 CONNECT h:443 0 B"],
    ),
    talk(
        "until the end of the stream, HTTP/1.0",
        &[
            ('>', "GET /old HTTP/1.0\r\n\r\n"),
            ('<', "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nfirst line\n"),
            ('<', "second line\n"),
        ],
        &["complete: 200 GET /old 23 B"],
    ),
    Conversation {
        end: End::TraceEnded,
        ..talk(
            "until an end that the trace does not reach",
            &[('>', "GET /old HTTP/1.0\r\n\r\n"), ('<', "HTTP/1.0 200 OK\r\n\r\nfirst line\n")],
            &["truncated: 200 GET /old 11 B"],
        )
    },
    lockstep(talk(
        "odd but legal lines",
        &[
            ('>', "\r\n\nM-SEARCH * HTTP/1.1\nHost: x\nX-Folded: a\r\n b\r\n\tc\n\n"),
            ('<', "HTTP/1.1 200 \nContent-Length: 2\nContent-Length: 2, 2\n\nok"),
            ('>', "GET / HTTP/1.1\r\nHost:x\r\n\r\n"),
            ('<', "HTTP/1.1 299\r\nContent-Length:0\r\n\r\n"),
        ],
        &["complete: 200 M-SEARCH * 2 B", "complete: 299 GET / 0 B"],
    )),
    talk(
        "a half at the end",
        &[
            ('>', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345"),
            ('>', "GET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HT"),
        ],
        &["truncated: 200 GET /1 5 B", "no-response: --- GET /2"],
    ),
    talk(
        "HTTP/0.9",
        &[('>', "GET /old?a\r\n"), ('<', "<html>\r\n"), ('<', "<body>HTTP/1.1 was later</body>")],
        &["complete: --- GET /old?a 39 B"],
    ),
    talk(
        "HTTP/0.9, answered in another version",
        &[('>', "GET /old\r\n"), ('<', "HTTP/1.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n")],
        &["complete: 400 GET /old 0 B"],
    ),
    talk(
        "only a server",
        &[
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n12"),
            ('<', "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        ],
        &["no-request: 200 (request not seen) 2 B", "no-request: 404 (request not seen) 0 B"],
    ),
    talk(
        "a server whose requests are not seen, one of them HEAD",
        &[
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"),
            ('<', "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHTTP"),
        ],
        &["no-request: 200 (request not seen) 0 B", "no-request: 200 (request not seen) 4 B"],
    ),
    talk(
        "a request that contradicts itself, and is answered",
        &[
            ('>', "POST /smuggle HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            ('<', "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        ],
        &["truncated: 400 POST /smuggle 0 B"],
    ),
    Conversation {
        quotes: true,
        ..talk(
            "a body that quotes a conversation",
            &[
                ('>', "GET /doc HTTP/1.1\r\nHost: x\r\n\r\n"),
                (
                    '<',
                    "HTTP/1.1 200 OK\r\nContent-Length: 79\r\n\r\nFor example:\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
                ),
            ],
            &["complete: 200 GET /doc 79 B"],
        )
    },
];
