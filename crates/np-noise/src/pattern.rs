//! The handshake patterns as tables of tokens (Noise sections 7 and 9). Owns what a pattern says of itself; must never
//! know keys or states. One more pattern is one more row.

use Token::{E, Ee, Es, Psk, S, Se, Ss};

use crate::TAG_LENGTH;

/// Which side of a handshake: the initiator writes the first message.
///
/// ```
/// use np_noise::Role;
/// assert_eq!(Role::Initiator.other(), Role::Responder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that writes the first message: the client.
    Initiator,
    /// The side that reads the first message: the server.
    Responder,
}

impl Role {
    /// The role of the peer.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// A handshake pattern that np offers.
///
/// ```
/// use np_noise::Pattern;
/// assert_eq!(Pattern::from_wire(2), Some(Pattern::IK));
/// assert_eq!(Pattern::IK.name(), "IK");
/// assert!(Pattern::IK.needs_remote_static_up_front());
/// assert_eq!(Pattern::XX.messages(), 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pattern {
    /// Both sides prove a static key that the other learns on the way.
    XX,
    /// Both sides prove a static key; the initiator knows the responder's beforehand.
    IK,
    /// The responder proves a static key known beforehand; the initiator stays anonymous.
    NK,
    /// Both sides prove static keys known beforehand.
    KK,
    /// XX, and both sides prove a pre-shared key.
    XXpsk3,
    /// IK, and both sides prove a pre-shared key.
    IKpsk2,
    /// Both sides prove a pre-shared key and nothing else.
    NNpsk0,
    /// Nobody proves anything: secret from listeners, open to whoever stands in between.
    DangerNN,
}

impl Pattern {
    /// Every pattern, in the order of the numbers on the wire.
    pub const ALL: [Self; 8] =
        [Self::XX, Self::IK, Self::NK, Self::KK, Self::XXpsk3, Self::IKpsk2, Self::NNpsk0, Self::DangerNN];

    /// The number that stands for the pattern on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::XX => 1,
            Self::IK => 2,
            Self::NK => 3,
            Self::KK => 4,
            Self::XXpsk3 => 5,
            Self::IKpsk2 => 6,
            Self::NNpsk0 => 7,
            Self::DangerNN => 8,
        }
    }

    /// The pattern of a number on the wire.
    #[must_use]
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.to_wire() == number)
    }

    /// The name in Noise's own writing, as it stands in the protocol name: `XX`, `IKpsk2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.table().name
    }

    /// How many messages the handshake has, both directions counted.
    #[must_use]
    pub const fn messages(self) -> usize {
        self.table().messages.len()
    }

    /// Whether the initiator must know the responder's static key before message 1.
    #[must_use]
    pub const fn needs_remote_static_up_front(self) -> bool {
        self.needs_remote_static(Role::Initiator)
    }

    /// Whether a side must know the other's static key before message 1.
    #[must_use]
    pub const fn needs_remote_static(self, role: Role) -> bool {
        self.table().knows(role.other())
    }

    /// Whether a side must bring a static key of its own.
    #[must_use]
    pub fn needs_local_static(self, role: Role) -> bool {
        let table = self.table();
        table.knows(role) || table.sends_static(role)
    }

    /// Whether both sides must bring a pre-shared key.
    #[must_use]
    pub fn needs_psk(self) -> bool {
        self.table().messages.iter().any(|m| m.contains(&Psk))
    }

    /// Whether a side may choose its pre-shared key by the other's static key, which it learns before the key is mixed.
    ///
    /// ```
    /// use np_noise::{Pattern, Role};
    /// assert!(Pattern::XXpsk3.takes_psk_late(Role::Responder));
    /// assert!(!Pattern::XXpsk3.takes_psk_late(Role::Initiator));
    /// assert!(!Pattern::NNpsk0.takes_psk_late(Role::Responder));
    /// ```
    #[must_use]
    pub fn takes_psk_late(self, role: Role) -> bool {
        role == Role::Responder && self.needs_psk() && self.authenticates_initiator()
    }

    /// Whether the responder knows at the end which static key the initiator holds.
    ///
    /// A pre-shared key alone proves that the peer belongs to the group, not which member it is.
    #[must_use]
    pub fn authenticates_initiator(self) -> bool {
        self.needs_local_static(Role::Initiator)
    }

    /// Whether the initiator knows at the end which static key the responder holds.
    #[must_use]
    pub fn authenticates_responder(self) -> bool {
        self.needs_local_static(Role::Responder)
    }

    /// The bytes that message `index` (from 0) has beyond its payload: keys and tags. `None` past the last message.
    ///
    /// ```
    /// use np_noise::Pattern;
    /// let xx: Vec<_> = (0..4).map(|index| Pattern::XX.message_overhead(index)).collect();
    /// assert_eq!(xx, [Some(32), Some(96), Some(64), None]);
    /// ```
    #[must_use]
    pub fn message_overhead(self, index: usize) -> Option<usize> {
        let psk_mode = self.needs_psk();
        let mut keyed = false;
        let mut overhead = None;
        for message in self.table().messages.get(..=index)? {
            let mut bytes = 0;
            for token in *message {
                bytes += match token {
                    E => 32,
                    S if keyed => 32 + TAG_LENGTH,
                    S => 32,
                    Ee | Es | Se | Ss | Psk => 0,
                };
                // From the first mixed key on, everything is encrypted; in psk patterns `e` is mixed as a key too.
                keyed |= !matches!(token, E | S) || (psk_mode && *token == E);
            }
            overhead = Some(if keyed { bytes + TAG_LENGTH } else { bytes });
        }
        overhead
    }

    pub(crate) const fn table(self) -> &'static Table {
        match self {
            Self::XX => &XX,
            Self::IK => &IK,
            Self::NK => &NK,
            Self::KK => &KK,
            Self::XXpsk3 => &XX_PSK3,
            Self::IKpsk2 => &IK_PSK2,
            Self::NNpsk0 => &NN_PSK0,
            Self::DangerNN => &NN,
        }
    }
}

/// One step within a message. In the two-letter tokens the initiator's key comes first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    E,
    S,
    Ee,
    Es,
    Se,
    Ss,
    Psk,
}

/// A row: the messages, alternating from the initiator's first, and whose static key the other side knows before.
pub(crate) struct Table {
    name: &'static str,
    initiator_known: bool,
    responder_known: bool,
    messages: &'static [&'static [Token]],
}

impl Table {
    /// Whether the static key of `role` is known to the other side beforehand (a pre-message `s`).
    pub(crate) const fn knows(&self, role: Role) -> bool {
        match role {
            Role::Initiator => self.initiator_known,
            Role::Responder => self.responder_known,
        }
    }

    /// The tokens of message `index`, counted from 0.
    pub(crate) fn message(&self, index: usize) -> Option<&'static [Token]> {
        self.messages.get(index).copied()
    }

    fn sends_static(&self, role: Role) -> bool {
        let first = match role {
            Role::Initiator => 0,
            Role::Responder => 1,
        };
        let mut own = self.messages.iter().skip(first).step_by(2);
        own.any(|message| message.contains(&S))
    }
}

static XX: Table =
    Table { name: "XX", initiator_known: false, responder_known: false, messages: &[&[E], &[E, Ee, S, Es], &[S, Se]] };

static IK: Table =
    Table { name: "IK", initiator_known: false, responder_known: true, messages: &[&[E, Es, S, Ss], &[E, Ee, Se]] };

static NK: Table = Table { name: "NK", initiator_known: false, responder_known: true, messages: &[&[E, Es], &[E, Ee]] };

static KK: Table =
    Table { name: "KK", initiator_known: true, responder_known: true, messages: &[&[E, Es, Ss], &[E, Ee, Se]] };

static XX_PSK3: Table = Table {
    name: "XXpsk3",
    initiator_known: false,
    responder_known: false,
    messages: &[&[E], &[E, Ee, S, Es], &[S, Se, Psk]],
};

static IK_PSK2: Table = Table {
    name: "IKpsk2",
    initiator_known: false,
    responder_known: true,
    messages: &[&[E, Es, S, Ss], &[E, Ee, Se, Psk]],
};

static NN_PSK0: Table =
    Table { name: "NNpsk0", initiator_known: false, responder_known: false, messages: &[&[Psk, E], &[E, Ee]] };

static NN: Table = Table { name: "NN", initiator_known: false, responder_known: false, messages: &[&[E], &[E, Ee]] };
