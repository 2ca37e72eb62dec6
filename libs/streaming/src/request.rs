//! What a token stands for. Must not know: the wire, nor what the caller's description means.

/// Something that a client may ask for once, with the caller's own description of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<W> {
    /// A command.
    Exec {
        /// The caller's description.
        what: W,
        /// The command, for the text of its failure.
        command: Vec<String>,
        /// Which streams it has.
        asked: Asked,
    },
    /// The streams of what runs already.
    Attach {
        /// The caller's description.
        what: W,
        /// Which streams it has.
        asked: Asked,
    },
    /// Connections to ports.
    PortForward {
        /// The caller's description.
        what: W,
        /// What the ports belong to, for the text of a failure.
        pod: String,
        /// The ports that a WebSocket of channels connects to. SPDY says the port with each connection.
        ports: Vec<u16>,
    },
}

/// The streams that a command was asked for with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors; none with a terminal.
    pub stderr: bool,
    /// There is a terminal: its sizes arrive too.
    pub tty: bool,
}

/// The three things that a path may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/exec/TOKEN`
    Exec,
    /// `/attach/TOKEN`
    Attach,
    /// `/portforward/TOKEN`
    PortForward,
}

impl Kind {
    /// The first part of its path.
    #[must_use]
    pub fn segment(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
        }
    }

    /// Kind and token of a path, if it is one.
    pub(crate) fn of_path(path: &str) -> Option<(Self, &str)> {
        let (segment, token) = path.strip_prefix('/')?.split_once('/')?;
        let kinds = [Self::Exec, Self::Attach, Self::PortForward];
        let kind = kinds.into_iter().find(|kind| kind.segment() == segment)?;
        (!token.is_empty() && !token.contains('/')).then_some((kind, token))
    }
}

impl<W> Request<W> {
    /// Which of the three it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Exec { .. } => Kind::Exec,
            Self::Attach { .. } => Kind::Attach,
            Self::PortForward { .. } => Kind::PortForward,
        }
    }
}
