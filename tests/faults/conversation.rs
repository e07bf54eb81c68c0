//! Conversations made up for the tests: every byte, message and pair is known beforehand.

use sockdbg::event::Range;
use std::net::SocketAddr;

/// Seeded random numbers (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What is said on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// HTTP, one request at a time.
    KeepAlive,
    /// HTTP, several requests before the first response.
    Pipelined,
    /// Redis, several commands before the first reply.
    Redis,
}

/// One connection: index 0 is what the client sends, 1 what the server does.
pub struct Conversation {
    pub talk: Talk,
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// Sequence number of offset 0.
    pub seq: [u32; 2],
    /// Bytes that moved before anybody looked. `streams` begin behind them.
    pub prior: [u64; 2],
    pub streams: [Vec<u8>; 2],
    /// Who sends which bytes next: a client's turn, a server's turn, and so on.
    pub turns: Vec<(usize, Range)>,
    /// Request and response.
    pub pairs: Vec<[Range; 2]>,
    /// When it begins, in nanoseconds.
    pub begin: u64,
}

const BODIES: &[u64] = &[0, 1, 5, 40, 300, 1459, 1460, 1461, 4096, 9000];

impl Conversation {
    /// A conversation of `talk`; `prior` tells how much moved before. Without `seq`, any sequence numbers.
    pub fn new(
        talk: Talk,
        ends: [SocketAddr; 2],
        prior: [u64; 2],
        begin: u64,
        seq: Option<[u32; 2]>,
        rng: &mut Rng,
    ) -> Conversation {
        let random = [0, 1].map(|side: usize| {
            let first = match rng.chance(50) {
                true => (rng.below(30_000) as u32).wrapping_neg(), // wraps soon
                false => rng.next() as u32,
            };
            first.wrapping_sub(prior[side] as u32)
        });
        let mut conversation = Conversation {
            talk,
            client: ends[0],
            server: ends[1],
            seq: seq.unwrap_or(random),
            prior,
            streams: Default::default(),
            turns: Vec::new(),
            pairs: Vec::new(),
            begin,
        };
        for _ in 0..3 + rng.below(5) {
            conversation.exchange(rng);
        }
        conversation
    }

    /// Offset after the last byte.
    pub fn end(&self, side: usize) -> u64 {
        self.prior[side] + self.streams[side].len() as u64
    }

    pub fn bytes(&self, side: usize, range: Range) -> &[u8] {
        let at = |offset: u64| (offset - self.prior[side]) as usize;
        &self.streams[side][at(range.from)..at(range.to)]
    }

    fn exchange(&mut self, rng: &mut Rng) {
        let count = if self.talk == Talk::KeepAlive { 1 } else { 1 + rng.below(4) };
        let before = [0, 1].map(|side| self.end(side));
        for _ in 0..count {
            let number = self.pairs.len();
            let texts = match self.talk {
                Talk::Redis => redis(number, rng),
                _ => http(number, rng),
            };
            let pair = [0, 1].map(|side: usize| {
                let from = self.end(side);
                self.streams[side].extend(&texts[side]);
                Range::new(from, self.end(side))
            });
            self.pairs.push(pair);
        }
        for (side, &from) in before.iter().enumerate() {
            self.turns.push((side, Range::new(from, self.end(side))));
        }
    }
}

fn body(length: u64, rng: &mut Rng) -> Vec<u8> {
    (0..length).map(|_| b'a' + rng.below(26) as u8).collect()
}

fn http(number: usize, rng: &mut Rng) -> [Vec<u8>; 2] {
    let mut request = format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes();
    if rng.chance(30) {
        let sent = body(rng.pick(BODIES), rng);
        request =
            format!("POST /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", sent.len()).into();
        request.extend(sent);
    }
    let answer = body(rng.pick(BODIES), rng);
    let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
    if rng.chance(30) && !answer.is_empty() {
        response.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in answer.chunks(1000) {
            response.extend(format!("{:x}\r\n", chunk.len()).bytes());
            response.extend(chunk);
            response.extend(b"\r\n");
        }
        response.extend(b"0\r\n\r\n");
    } else {
        response.extend(format!("Content-Length: {}\r\n\r\n", answer.len()).bytes());
        response.extend(answer);
    }
    [request, response]
}

fn redis(number: usize, rng: &mut Rng) -> [Vec<u8>; 2] {
    let key = format!("key:{number}");
    let value = body(rng.pick(BODIES), rng);
    let words: Vec<&[u8]> = match rng.below(3) {
        0 => vec![b"GET", key.as_bytes()],
        1 => vec![b"SET", key.as_bytes(), &value],
        _ => vec![b"INCR", key.as_bytes()],
    };
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in &words {
        command.extend(format!("${}\r\n", word.len()).bytes());
        command.extend(*word);
        command.extend(b"\r\n");
    }
    let mut reply = Vec::new();
    match words[0] {
        b"GET" => {
            reply.extend(format!("${}\r\n", value.len()).bytes());
            reply.extend(&value);
            reply.extend(b"\r\n");
        }
        b"SET" => reply.extend(b"+OK\r\n"),
        _ => reply.extend(format!(":{number}\r\n").bytes()),
    }
    [command, reply]
}
