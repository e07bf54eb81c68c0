//! A real NATS server, and its clients.

use super::client::Client;
use super::killed::Killed;
use super::peer::{eventually, free_port};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// The server, ended with the test.
pub struct Nats {
    pub child: Killed,
    pub address: SocketAddr,
}

impl Nats {
    pub fn start() -> Nats {
        let port = free_port();
        // In sbin, which is not in every user's PATH.
        let installed = Path::new("/usr/sbin/nats-server");
        let program = if installed.exists() { installed } else { Path::new("nats-server") };
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--user", "me", "--pass", "hunter2"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Killed(command.spawn().expect("nats-server is installed"));
        let nats = Nats { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        eventually("the server listens", || TcpStream::connect(nats.address).is_ok());
        nats
    }
}

/// A client that the server has greeted and let in.
pub fn join(address: SocketAddr, more: &str) -> Client {
    let mut client = Client::connect(address);
    let ends = |bytes: &[u8]| bytes.ends_with(b"\r\n");
    assert!(client.receive_until(ends).starts_with(b"INFO {"));
    let options =
        r#""lang":"test","version":"1","user":"me","pass":"hunter2","headers":true,"no_responders":true"#;
    client.send(format!("CONNECT {{{options},{more}}}\r\nPING\r\n").as_bytes());
    client
}
