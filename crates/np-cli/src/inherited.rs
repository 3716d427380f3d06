//! Sockets that a service manager hands over (LISTEN_FDS): each takes the place of the `--listen` that names it.

use np_facade::{Address, ServerBuilder};

use crate::failure::Failure;

#[cfg(target_os = "linux")]
use linux::Sockets;

/// The sockets that came with this process.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    #[cfg(target_os = "linux")]
    sockets: Sockets,
}

impl Inherited {
    /// Takes them, once: where LISTEN_PID names another process they are not for this one.
    #[cfg_attr(not(target_os = "linux"), allow(clippy::unnecessary_wraps, reason = "elsewhere there are none"))]
    pub(crate) fn take() -> Result<Self, Failure> {
        Ok(Self {
            #[cfg(target_os = "linux")]
            sockets: Sockets::take()?,
        })
    }

    /// Hands each to the builder, with the text of the address that it is of.
    #[cfg_attr(not(target_os = "linux"), allow(clippy::unnecessary_wraps, reason = "elsewhere there are none"))]
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "elsewhere there are none"))]
    pub(crate) fn give(
        self,
        builder: ServerBuilder,
        texts: &[String],
        addresses: &[Address],
    ) -> Result<ServerBuilder, Failure> {
        #[cfg(target_os = "linux")]
        let builder = self.sockets.give(builder, texts, addresses)?;
        Ok(builder)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{SocketAddr, TcpListener};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use np_facade::{Address, InheritedSocket, ServerBuilder, escape};
    use rustix::net::sockopt;

    use crate::failure::Failure;

    /// The sockets, and where each listens.
    #[derive(Debug, Default)]
    pub(super) struct Sockets(Vec<(InheritedSocket, Place)>);

    #[derive(Debug, PartialEq, Eq)]
    enum Place {
        Network(SocketAddr),
        File(PathBuf),
    }

    impl Sockets {
        pub(super) fn take() -> Result<Self, Failure> {
            let sockets = sd_listen_fds::get().map_err(|error| {
                Failure::usage(format!("LISTEN_FDS: {error}; unset it and LISTEN_PID, or mend what starts np"))
            })?;
            sockets.into_iter().map(|(_, socket)| of(socket.into_std())).collect::<Result<_, _>>().map(Self)
        }

        pub(super) fn give(
            self,
            mut builder: ServerBuilder,
            texts: &[String],
            addresses: &[Address],
        ) -> Result<ServerBuilder, Failure> {
            for (socket, place) in self.0 {
                let named = addresses.iter().zip(texts).find(|(address, _)| place.is_of(address));
                let Some((_, text)) = named else {
                    let shown = escape(&place.text(), 256);
                    return Err(Failure::usage(format!(
                        "LISTEN_FDS: no --listen names the socket {shown} that was handed over; pass --listen for each, as \
                         tcp://, tls:// or unix:, or take it out of the socket unit"
                    )));
                };
                builder = builder.listen_on(text.as_str(), socket);
            }
            Ok(builder)
        }
    }

    /// Finds out what was handed over.
    fn of(socket: OwnedFd) -> Result<(InheritedSocket, Place), Failure> {
        let useless = |why: &str| {
            Failure::usage(format!("LISTEN_FDS: {why}; np takes ListenStream= sockets of TCP and Unix, with Accept=no"))
        };
        if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
            return Err(useless("one of what was handed over is no socket that listens"));
        }
        let socket = TcpListener::from(socket);
        if let Ok(at) = socket.local_addr() {
            return Ok((InheritedSocket::Tcp(socket), Place::Network(at)));
        }
        let socket = UnixListener::from(OwnedFd::from(socket));
        let path = socket.local_addr().ok().and_then(|at| at.as_pathname().map(PathBuf::from));
        match path {
            Some(path) => Ok((InheritedSocket::Unix(socket), Place::File(path))),
            None => Err(useless("one of the sockets is neither of TCP nor a socket file")),
        }
    }

    impl Place {
        fn is_of(&self, address: &Address) -> bool {
            match self {
                Self::Network(at) => {
                    let host = address.host().unwrap_or_default();
                    address.port() == Some(at.port()) && (address.ip() == Some(at.ip()) || host == at.ip().to_string())
                }
                Self::File(path) => address.path().as_ref() == Some(path),
            }
        }

        fn text(&self) -> String {
            match self {
                Self::Network(at) => at.to_string(),
                Self::File(path) => path.to_string_lossy().into_owned(),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use np_facade::Address;

        use super::Place;

        #[test]
        fn a_socket_belongs_to_the_address_that_names_its_place() {
            let network = Place::Network("[::1]:9000".parse().unwrap());
            let file = Place::File("/run/np/np.sock".into());
            for (address, of_network, of_file) in [
                ("tcp://[::1]:9000", true, false),
                ("tls://[::1]:9000", true, false),
                ("tcp://[::1]:9001", false, false),
                ("tcp://127.0.0.1:9000", false, false),
                ("unix:/run/np/np.sock", false, true),
                ("unix:/run/np/np.sock?mode=local", false, true),
                ("unix:/run/np/other.sock", false, false),
            ] {
                let address: Address = address.parse().unwrap();
                assert_eq!((network.is_of(&address), file.is_of(&address)), (of_network, of_file), "{address}");
            }
        }
    }
}
