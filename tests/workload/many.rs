//! Many connections, at once and one after the other.

use super::Mode;
use super::noise::noise;
use super::peer::{Link, Peer, converse, receive};
use super::sys;
use super::truth::{Truth, Way};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::fstat;
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

/// What each connection of the storm sends.
const MESSAGE: usize = 64;

/// Short connections, as fast as they come: 10,000, or 100,000 with SOCKDBG_LONG=1, or as many as a machine that does not
/// get at 10,000 a second has in one second or in ten. Says how fast they came. What can be done before or afterwards is, so that it is connections that take the time.
fn storm(truth: &mut Truth) {
    let seconds = if std::env::var_os("SOCKDBG_LONG").is_some_and(|value| value == "1") { 10 } else { 1 };
    let limit = seconds * 10_000;
    let messages: Vec<Vec<u8>> = (0..limit).map(|seed| noise(MESSAGE, seed as u64)).collect();
    let (mut peer, port) = server(|listener, link| {
        let mut count = 0;
        loop {
            let stream = sys::accept(&listener);
            // One byte more than comes: the call waits for the end of the stream.
            let mut bytes = [0; MESSAGE + 1];
            match sys::recv(stream.as_raw_fd(), &mut bytes, libc::MSG_WAITALL) {
                Ok(MESSAGE) => assert!(bytes[..MESSAGE] == messages[count], "the peer got other bytes"),
                Ok(0) => break,
                other => panic!("the peer got {other:?}"),
            }
            count += 1;
        }
        link.tell(count as u64);
    });
    // Each address has its own 28,000 ports, which stay taken for a minute (TIME_WAIT).
    let address = |second: usize| SocketAddr::from(([127, 0, 1, second as u8 + 1], port));
    let addresses: Vec<_> = (0..seconds).map(|second| sys::inet(address(second))).collect();
    let mut inodes = Vec::with_capacity(limit);
    let begin = Instant::now();
    for (count, message) in messages.iter().enumerate() {
        if begin.elapsed() >= Duration::from_secs(seconds as u64) {
            break;
        }
        let stream = sys::socket(libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(sys::connect(&stream, &addresses[count / 10_000]), Ok(0));
        inodes.push(fstat(&stream).expect("an open socket").st_ino);
        assert_eq!(sys::write(stream.as_raw_fd(), message), Ok(MESSAGE));
    }
    let (elapsed, count) = (begin.elapsed(), inodes.len());
    let rate = count as f64 / elapsed.as_secs_f64();
    eprintln!("workload: {count} connects in {:.2} s, {rate:.0} a second", elapsed.as_secs_f64());
    for (inode, message) in inodes.into_iter().zip(&messages) {
        let id = truth.former(inode, "tcp");
        truth.moved(id, Way::Send, message);
    }
    let last = TcpStream::connect(("127.0.0.1", port)).expect("the peer listens");
    truth.socket(&last, "tcp");
    drop(last);
    assert_eq!(peer.link.hear(), count as u64);
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
