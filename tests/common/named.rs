//! A real name server.

use super::peer::{eventually, free_port};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// BIND, as the primary server of example.test; ended with the test.
pub struct Named {
    child: Child,
    pub port: u16,
    _files: TempDir,
}

impl Named {
    pub fn start() -> Named {
        let files = tempfile::tempdir().expect("room for files");
        let (port, root) = (free_port(), files.path().display());
        let configuration = format!(
            "options {{ directory \"{root}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
             pid-file none; session-keyfile none; recursion no; allow-transfer {{ any; }}; dnssec-validation no; \
             empty-zones-enable no; max-udp-size 4096; edns-udp-size 4096; }};\n\
             controls {{ }};\nzone \"example.test\" {{ type primary; file \"zone\"; }};\n"
        );
        let big = format!("\"{}\" ", "x".repeat(200)).repeat(15);
        let zone = format!(
            "$TTL 300\n@ SOA ns hostmaster 7 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\nwww CNAME host\n\
             host A 192.0.2.7\nhost AAAA 2001:db8::7\n@ MX 10 host\n_sip._tcp SRV 1 2 5060 host\n\
             @ CAA 0 issue \"ca.test\"\nsvc HTTPS 1 . alpn=h2,h3 port=8443\nbig TXT {big}\n"
        );
        fs::write(files.path().join("conf"), configuration).expect("room for files");
        fs::write(files.path().join("zone"), zone).expect("room for files");
        // In sbin, which is not in every user's PATH.
        let installed = Path::new("/usr/sbin/named");
        let mut command = Command::new(if installed.exists() { installed } else { Path::new("named") });
        command.args(["-g", "-n", "1", "-c"]).arg(files.path().join("conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let named = Named { child: command.spawn().expect("named is installed"), port, _files: files };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the server listens", || TcpStream::connect(address).is_ok());
        named.dig(&["host.example.test"], "192.0.2.7");
        named
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and gets an answer in which `answer` is.
    pub fn dig(&self, args: &[&str], answer: &str) {
        let said = dig(self.port, args);
        assert!(said.contains(answer), "{args:?}: {said}");
    }

    /// Ends it: nobody listens on its port any more.
    pub fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn dig(port: u16, args: &[&str]) -> String {
    let port = port.to_string();
    let output = Command::new("dig").args(["@127.0.0.1", "-p", &port]).args(args).output();
    String::from_utf8_lossy(&output.expect("dig is installed").stdout).into_owned()
}
