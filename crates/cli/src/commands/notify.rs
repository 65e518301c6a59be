//! Words to the service manager that started the server (systemd's `sd_notify`): one datagram to the socket that
//! `NOTIFY_SOCKET` names. Without one nothing is said; what cannot be said is no reason to stop.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says that users are served.
pub fn ready(url: &str) {
    say(&format!("READY=1\nSTATUS=serving {url}"));
}

/// Says that the server ends.
pub fn ending() {
    say("STOPPING=1\nSTATUS=ending: running jobs get their grace");
}

/// Says that another program takes this one's place.
pub fn changing() {
    say("RELOADING=1\nSTATUS=making way for another program");
}

fn say(words: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, words) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// `@name` is an address without a file.
fn send(socket: &OsString, words: &str) -> io::Result<()> {
    let name = socket.as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(words.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_are_reached() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let abstract_name = format!("runyard-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(abstract_name.as_bytes()).expect("an address");
        let sockets = [UnixDatagram::bind(&path), UnixDatagram::bind_addr(&address)];
        for (socket, name) in
            sockets.into_iter().zip([path.into_os_string(), format!("@{abstract_name}").into()])
        {
            send(&name, "READY=1").expect("sent");
            let mut heard = [0; 32];
            let length = socket.expect("bound").recv(&mut heard).expect("heard");
            assert_eq!(&heard[..length], b"READY=1");
        }
        send(&OsString::from("/nowhere/notify"), "READY=1").expect_err("nobody listens");
    }
}
