//! Puts handshake messages together: one may span records, and several may share one (RFC 8446, section 5.1).

/// The most bytes of one message that are looked at: a hello has at most 64 KiB of extensions, and OpenSSL takes no
/// longer chain of certificates than 100 KiB.
pub const MESSAGE_MAX: usize = 128 << 10;

/// Bytes of a message's header.
const HEADER: usize = 4;

/// One message, or what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// How many bytes it says to have behind its header.
    pub length: usize,
    /// The first of them, [`MESSAGE_MAX`] at most.
    pub body: Vec<u8>,
}

impl Message {
    /// True where bytes of it are missing, or beyond what is looked at.
    pub fn is_cut(&self) -> bool {
        self.body.len() < self.length
    }
}

/// The message under way in one direction.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Header and body, as far as they came and are kept.
    kept: Vec<u8>,
    /// Bytes of the body that came and are not kept.
    passed: usize,
}

impl Assembler {
    /// Takes what a record carries; gives the messages that end in it.
    pub fn add(&mut self, mut payload: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let head = payload.len().min(HEADER.saturating_sub(self.kept.len()));
            self.kept.extend_from_slice(&payload[..head]);
            payload = &payload[head..];
            let Some((kind, length)) = self.header() else { return messages };
            let came = self.kept.len() - HEADER + self.passed;
            let (part, rest) = payload.split_at(payload.len().min(length - came));
            let room = (HEADER + MESSAGE_MAX).saturating_sub(self.kept.len());
            let kept = part.len().min(room);
            self.kept.extend_from_slice(&part[..kept]);
            self.passed += part.len() - kept;
            payload = rest;
            if came + part.len() < length {
                return messages;
            }
            messages.push(Message { kind, length, body: self.kept.split_off(HEADER) });
            *self = Assembler::default();
        }
    }

    /// Ends the message under way with what came of it.
    pub fn take(&mut self) -> Option<Message> {
        let header = self.header();
        let Assembler { mut kept, .. } = std::mem::take(self);
        header.map(|(kind, length)| Message { kind, length, body: kept.split_off(HEADER) })
    }

    /// True where nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn header(&self) -> Option<(u8, usize)> {
        let [kind, length @ ..] = *self.kept.first_chunk::<HEADER>()?;
        let [a, b, c] = length;
        Some((kind, u32::from_be_bytes([0, a, b, c]) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        [&[kind], &length[1..], body].concat()
    }

    #[test]
    fn messages_are_the_same_however_records_cut_them() {
        let stream = [message(2, b"hello"), message(14, b""), message(11, &[7; 300])].concat();
        let whole = Assembler::default().add(&stream);
        assert_eq!(
            whole.iter().map(|one| (one.kind, one.body.len())).collect::<Vec<_>>(),
            [(2, 5), (14, 0), (11, 300)]
        );
        for length in [1, 2, 3, 7, 100] {
            let mut assembler = Assembler::default();
            let pieces = stream.chunks(length).flat_map(|piece| assembler.add(piece));
            assert_eq!(pieces.collect::<Vec<_>>(), whole);
            assert!(assembler.is_empty());
        }
    }

    #[test]
    fn of_a_message_beyond_the_bound_the_beginning_is_kept_and_the_next_one_is_found() {
        let stream = [message(11, &vec![1; MESSAGE_MAX + 10_000]), message(14, b"")].concat();
        let mut assembler = Assembler::default();
        let found: Vec<Message> = stream.chunks(16_384).flat_map(|piece| assembler.add(piece)).collect();
        assert_eq!((found[0].length, found[0].body.len()), (MESSAGE_MAX + 10_000, MESSAGE_MAX));
        assert!(found[0].is_cut() && found[1].kind == 14 && found.len() == 2);
    }

    #[test]
    fn what_came_of_a_message_is_given_at_its_end() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.add(&message(1, b"client")[..7]), []);
        assert_eq!(assembler.take(), Some(Message { kind: 1, length: 6, body: b"cli".to_vec() }));
        assert_eq!(assembler.take(), None);
    }
}
