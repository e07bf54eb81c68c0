//! Many connections, at once and one after the other.

use super::Mode;
use super::noise::noise;
use super::peer::{Link, Peer, converse, receive};
use super::sys;
use super::truth::{Truth, Way};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

pub const MODES: &[Mode] =
    &[("many/1000-at-once", at_once), ("many/connect-storm", storm), ("many/threads", threads)];

const CONNECTIONS: usize = 1000;

/// A peer that listens with room for all of them.
fn server(work: impl FnOnce(TcpListener, &mut Link)) -> (Peer, u16) {
    let mut peer = Peer::fork(|link| {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        assert_eq!(sys::listen_for(&listener, 4096), Ok(0));
        link.tell(u64::from(listener.local_addr().expect("bound").port()));
        work(listener, link);
    });
    let port = peer.link.hear() as u16;
    (peer, port)
}

fn allow_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most.min(1 << 16), most).expect("no more than the most");
}

fn at_once(truth: &mut Truth) {
    allow_descriptors();
    let (mut peer, port) = server(|listener, link| {
        let streams: Vec<_> =
            listener.incoming().take(CONNECTIONS).map(|stream| stream.expect("a peer")).collect();
        for (seed, mut stream) in streams.iter().enumerate() {
            stream.write_all(&noise(400, seed as u64)).expect("the workload reads");
        }
        link.tell(0);
        for (seed, stream) in streams.iter().enumerate() {
            assert!(receive(stream) == noise(1000, seed as u64), "the peer got other bytes");
        }
    });
    let mut ends = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the peer listens");
        let id = truth.socket(&stream, "tcp");
        ends.push((stream, id));
    }
    peer.link.hear();
    for half in [0..500, 500..1000] {
        for (seed, (stream, id)) in ends.iter().enumerate() {
            let bytes = &noise(1000, seed as u64)[half.clone()];
            assert_eq!(sys::write(stream.as_raw_fd(), bytes), Ok(500));
            truth.moved(*id, Way::Send, bytes);
        }
    }
    for (seed, (mut stream, id)) in ends.iter().map(|(stream, id)| (stream, id)).enumerate() {
        let mut room = [0; 400];
        stream.read_exact(&mut room).expect("the peer sends");
        assert_eq!(room[..], noise(400, seed as u64));
        truth.moved(*id, Way::Recv, &room);
    }
    drop(ends);
    peer.ended();
}

/// Short connections, as fast as they come but 10,000 a second at most: for one second, or with SOCKDBG_LONG=1 for ten.
/// Says how fast they came.
fn storm(truth: &mut Truth) {
    let seconds = if std::env::var_os("SOCKDBG_LONG").is_some_and(|value| value == "1") { 10 } else { 1 };
    let limit = seconds * 10_000;
    let (mut peer, port) = server(|listener, link| {
        let mut count = 0;
        for stream in listener.incoming() {
            let mut stream = stream.expect("a peer");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("the workload closes");
            if bytes.is_empty() {
                break;
            }
            assert!(bytes == noise(64, count), "the peer got other bytes");
            count += 1;
        }
        link.tell(count);
    });
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(seconds) && count < limit {
        // Each address has its own 28,000 ports, which stay taken for a minute (TIME_WAIT).
        let to = SocketAddr::from(([127, 0, 1, (count / 10_000) as u8 + 1], port));
        let stream = TcpStream::connect(to).expect("the peer listens");
        let id = truth.socket(&stream, "tcp");
        let bytes = noise(64, count);
        assert_eq!(sys::write(stream.as_raw_fd(), &bytes), Ok(64));
        truth.moved(id, Way::Send, &bytes);
        count += 1;
    }
    let elapsed = begin.elapsed();
    let rate = count as f64 / elapsed.as_secs_f64();
    eprintln!("workload: {count} connects in {:.2} s, {rate:.0} a second", elapsed.as_secs_f64());
    let last = TcpStream::connect(("127.0.0.1", port)).expect("the peer listens");
    truth.socket(&last, "tcp");
    drop(last);
    assert_eq!(peer.link.hear(), count);
    peer.ended();
}

/// Eight threads, a connection each.
fn threads(truth: &mut Truth) {
    let peers = [0u64, 1, 2, 3, 4, 5, 6, 7].map(|seed| {
        let (peer, address) =
            Peer::server("127.0.0.1", move |stream, link| converse(&stream, &noise(300_000, seed), link));
        let stream = TcpStream::connect(address).expect("the peer listens");
        let id = truth.socket(&stream, "tcp");
        (seed, stream, id, peer)
    });
    std::thread::scope(|scope| {
        for (seed, stream, ..) in &peers {
            scope.spawn(move || {
                let mut stream = stream;
                let (sent, expected) = (noise(200_000, 100 + seed), noise(300_000, *seed));
                let mut room = vec![0; 3000];
                for (part, answer) in sent.chunks(2000).zip(expected.chunks(3000)) {
                    stream.write_all(part).expect("the peer reads");
                    stream.read_exact(&mut room).expect("the peer sends");
                    assert!(room == answer, "the peer's bytes");
                }
            });
        }
    });
    for (seed, stream, id, peer) in peers {
        truth.moved(id, Way::Send, &noise(200_000, 100 + seed));
        truth.moved(id, Way::Recv, &noise(300_000, seed));
        drop(stream);
        peer.agrees(truth, id);
    }
}
