//! The demo's traffic: a small HTTP server, which is traced, and a client, which is not.
//!
//! One of the server's answers goes through sendfile(2): its payload never passes through the memory of
//! the process, so that no tracer of read and write can see it. That is the loss that the demo shows.

use nix::sys::sendfile::sendfile;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// Size of the page that goes through write(2), in bytes.
const REPORT_SIZE: usize = 30_000;

/// Size of the picture that goes through sendfile(2), in bytes.
const PICTURE_SIZE: usize = 10_000;

/// The requests of each connection, in order.
const VISITS: [&[&str]; 2] = [&["/hello", "/report", "/picture.png", "/hello"], &["/hello", "/missing"]];

/// Serves on a free port of the loopback interface, says which on stdout, and ends with stdin.
///
/// # Errors
/// No port, or no temporary file.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut picture = tempfile::tempfile()?;
    picture.write_all(&[0x89; PICTURE_SIZE])?;
    println!("{}", listener.local_addr()?.port());
    // The parent says when it is done by closing our stdin; the first line starts the first connection.
    for _ in io::stdin().lines() {
        answer_all(&listener.accept()?.0, &picture)?;
    }
    Ok(())
}

fn answer_all(stream: &TcpStream, picture: &File) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(target) = read_request(&mut reader)? {
        match target.as_str() {
            "/hello" => respond(stream, "200 OK", "text/plain", b"hello, world\n")?,
            "/report" => respond(stream, "200 OK", "text/plain", &vec![b'r'; REPORT_SIZE])?,
            "/picture.png" => send_picture(stream, picture)?,
            _ => respond(stream, "404 Not Found", "text/plain", b"no such page\n")?,
        }
    }
    Ok(())
}

/// The target of the next request; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut first = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(first.split(' ').nth(1).map(str::to_owned));
        }
        if first.is_empty() {
            first = line;
        }
    }
}

fn head(status: &str, kind: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n")
}

fn respond(mut stream: &TcpStream, status: &str, kind: &str, body: &[u8]) -> io::Result<()> {
    stream.write_all(head(status, kind, body.len()).as_bytes())?;
    stream.write_all(body)
}

fn send_picture(mut stream: &TcpStream, picture: &File) -> io::Result<()> {
    stream.write_all(head("200 OK", "image/png", PICTURE_SIZE).as_bytes())?;
    let mut offset = 0;
    while (offset as usize) < PICTURE_SIZE {
        let left = PICTURE_SIZE - offset as usize;
        sendfile(stream, picture, Some(&mut offset), left)?;
    }
    Ok(())
}

/// Visits the server. `announce` is called before each connection.
///
/// # Errors
/// The server does not answer as it should.
pub fn visit(server: SocketAddr, mut announce: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for targets in VISITS {
        announce()?;
        let stream = TcpStream::connect(server)?;
        let mut reader = BufReader::new(&stream);
        for target in targets {
            (&stream).write_all(format!("GET {target} HTTP/1.1\r\nHost: demo\r\n\r\n").as_bytes())?;
            read_response(&mut reader)?;
        }
    }
    Ok(())
}

fn read_response(reader: &mut impl BufRead) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    reader.read_exact(&mut vec![0; length])
}
