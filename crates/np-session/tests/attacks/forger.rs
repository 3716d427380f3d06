//! An attacker that speaks Noise by itself (with `snow`) and lies about its keys: it shows public keys whose secrets it
//! lacks, knows secrets that it should not, and goes on where an honest peer could not.

use np_noise::Pattern;
use np_session::{Preface, Side, server_hint};
use np_types::{Limits, PublicKey};
use np_wire::{Choices, Frame, encode_frame};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};

use crate::world::{ATTACKER, NOW, PSK, PSK_ID, SERVER, framed, pair, split_preface, unframed};

/// A key of the attacker, as a lie: what it shows, and what it can compute.
#[derive(Clone)]
pub(crate) struct Lie {
    /// What stands for this key in the tables of the tool; nobody sees it.
    handle: [u8; 32],
    /// The public key that the victim sees.
    shown: PublicKey,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// It has another secret than the one that belongs to the shown key.
    WithoutSecret,
    /// The shown key has low order, so that everything shared with it is zero.
    LowOrder,
    /// It lacks the secret of the shown key, but stole the secret of this one, and knows what the two share.
    Stolen([u8; 32]),
}

impl Lie {
    /// Shows `key` and lacks its secret.
    pub(crate) const fn without_secret(key: PublicKey) -> Self {
        Self { handle: [0xa1; 32], shown: key, kind: Kind::WithoutSecret }
    }

    /// Shows a point of low order.
    pub(crate) const fn low_order(point: [u8; 32], handle: u8) -> Self {
        Self { handle: [handle; 32], shown: PublicKey::from_bytes(point), kind: Kind::LowOrder }
    }

    /// Shows `key` and lacks its secret, but holds the secret of the victim itself.
    pub(crate) const fn to_a_victim_with(stolen: [u8; 32], key: PublicKey) -> Self {
        Self { handle: [0xa2; 32], shown: key, kind: Kind::Stolen(stolen) }
    }
}

/// What an attacker brings to a handshake. Nothing that is not here is known to it.
#[derive(Clone)]
pub(crate) struct Forger {
    pub(crate) pattern: Pattern,
    pub(crate) fixed: Option<Lie>,
    pub(crate) ephemeral: Option<Lie>,
    /// The static key that it takes its victim to have.
    pub(crate) victim: PublicKey,
    pub(crate) psk: [u8; 32],
}

impl Forger {
    /// An attacker with a key of its own, which knows the psk and its id: the worst of the members.
    pub(crate) fn new(pattern: Pattern, victim: PublicKey) -> Self {
        Self { pattern, fixed: None, ephemeral: None, victim, psk: PSK }
    }

    fn handshake(&self, prologue: &[u8], side: Side) -> HandshakeState {
        let name = format!("Noise_{}_25519_ChaChaPoly_SHA256", self.pattern.name());
        let role = if side == Side::Initiator { np_noise::Role::Initiator } else { np_noise::Role::Responder };
        let lies: Vec<Lie> = self.fixed.iter().chain(&self.ephemeral).cloned().collect();
        let resolver = Box::new(Liar { lies });
        let mut builder = Builder::with_resolver(name.parse().unwrap(), resolver).prologue(prologue).unwrap();
        let fixed = self.fixed.as_ref().map_or(ATTACKER, |lie| lie.handle);
        let ephemeral = self.ephemeral.as_ref().map_or([0x77; 32], |lie| lie.handle);
        if self.pattern.needs_local_static(role) {
            builder = builder.local_private_key(&fixed).unwrap();
        }
        if self.pattern.needs_remote_static(role) {
            builder = builder.remote_public_key(self.victim.as_bytes()).unwrap();
        }
        if self.pattern.needs_psk() {
            let place = self.pattern.name().as_bytes().last().unwrap() - b'0';
            builder = builder.psk(place, &self.psk).unwrap();
        }
        let builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
        let built = if side == Side::Initiator { builder.build_initiator() } else { builder.build_responder() };
        built.unwrap()
    }

    /// A first flight to a server.
    pub(crate) fn first_flight(&self) -> (Forged, Vec<u8>) {
        self.first_flight_with(self.preface())
    }

    pub(crate) fn preface(&self) -> Preface {
        let hinted = self.pattern.needs_remote_static_up_front();
        Preface {
            min_version: 1,
            max_version: 1,
            version: 1,
            suite: 1,
            pattern: self.pattern.to_wire(),
            time: NOW,
            nonce: [0x99; 16],
            hint: if hinted { server_hint(&pair(SERVER).public()) } else { [0; 4] },
            key_id: self.key_id(),
        }
    }

    fn key_id(&self) -> Vec<u8> {
        match self.pattern {
            Pattern::KK => {
                let shown = self.fixed.as_ref().map_or_else(|| pair(ATTACKER).public(), |lie| lie.shown);
                shown.as_bytes().to_vec()
            }
            pattern if pattern.needs_psk() => PSK_ID.to_vec(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn first_flight_with(&self, preface: Preface) -> (Forged, Vec<u8>) {
        let mut flight = Vec::new();
        preface.encode(&mut flight);
        let mut forged = Forged { noise: Some(self.handshake(&flight, Side::Initiator)), traffic: None };
        flight.extend_from_slice(&forged.write(&[]).unwrap());
        (forged, flight)
    }

    /// The answer to a client's first flight, if the attacker can make one.
    pub(crate) fn answer(&self, flight: &[u8]) -> Option<(Forged, Vec<u8>)> {
        let (preface, rest) = split_preface(flight);
        let mut forged = Forged { noise: Some(self.handshake(preface, Side::Responder)), traffic: None };
        forged.read(rest)?;
        let choices = Choices { version: 1, suite: 1, pattern: self.pattern.to_wire() };
        let message = forged.write(&choices.encode())?;
        Some((forged, message))
    }

    /// The best that is left to an attacker that cannot read message 1: a message 2 of the right length.
    pub(crate) fn guess(&self) -> Vec<u8> {
        let size = self.pattern.message_overhead(1).unwrap() + 3;
        let mut message = self.ephemeral.as_ref().map_or([0x77; 32], |lie| *lie.shown.as_bytes()).to_vec();
        message.resize(size, 0x5a);
        framed(&message)
    }
}

/// A handshake of the attacker in progress, and its traffic keys when it got that far.
pub(crate) struct Forged {
    noise: Option<HandshakeState>,
    traffic: Option<TransportState>,
}

impl Forged {
    /// Its next handshake message, framed.
    pub(crate) fn write(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = [0; 1_024];
        let size = self.noise.as_mut()?.write_message(payload, &mut buffer).ok()?;
        self.finish();
        Some(framed(&buffer[..size]))
    }

    /// Reads a framed handshake message, if it can.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (message, rest) = unframed(bytes)?;
        self.noise.as_mut()?.read_message(&message, &mut [0; 1_024]).ok()?;
        self.finish();
        Some(rest.to_vec())
    }

    fn finish(&mut self) {
        if self.noise.as_ref().is_some_and(HandshakeState::is_handshake_finished) {
            self.traffic = self.noise.take().map(|noise| noise.into_transport_mode().unwrap());
        }
    }

    /// Whether its own handshake has come to an end.
    pub(crate) const fn has_keys(&self) -> bool {
        self.traffic.is_some()
    }

    /// Seals frames as one record.
    pub(crate) fn seal(&mut self, frames: &[Frame<'_>]) -> Vec<u8> {
        let mut plain = Vec::new();
        frames.iter().for_each(|frame| encode_frame(&mut plain, frame));
        let mut record = vec![0; plain.len() + 16];
        let size = self.traffic.as_mut().unwrap().write_message(&plain, &mut record).unwrap();
        let mut out = (size as u16).to_be_bytes().to_vec();
        out.extend_from_slice(&record[..size]);
        out
    }

    /// The record by which a peer counts as connected.
    pub(crate) fn settings(&mut self) -> Vec<u8> {
        self.seal(&[Frame::Settings(np_testkit::settings(&Limits::default()))])
    }

    /// What stands in a record of the victim, if the attacker can open it.
    pub(crate) fn open(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let mut plain = vec![0; record.len()];
        let size = self.traffic.as_mut()?.read_message(record.get(2..)?, &mut plain).ok()?;
        plain.truncate(size);
        Some(plain)
    }
}

/// A source of primitives whose keys lie.
struct Liar {
    lies: Vec<Lie>,
}

impl CryptoResolver for Liar {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let honest = DefaultResolver.resolve_dh(choice)?;
        Some(Box::new(LyingKey { honest, lies: self.lies.clone(), lie: None }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct LyingKey {
    honest: Box<dyn Dh>,
    lies: Vec<Lie>,
    lie: Option<Lie>,
}

impl Dh for LyingKey {
    fn name(&self) -> &'static str {
        self.honest.name()
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.honest.set(privkey);
        self.lie = self.lies.iter().find(|lie| lie.handle == privkey).cloned();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.honest.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.lie.as_ref().map_or_else(|| self.honest.pubkey(), |lie| lie.shown.as_bytes())
    }

    fn privkey(&self) -> &[u8] {
        self.honest.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        match &self.lie {
            Some(Lie { kind: Kind::LowOrder, .. }) => {
                out[..32].fill(0);
                Ok(())
            }
            Some(Lie { kind: Kind::Stolen(secret), shown, .. })
                if pair(*secret).public().as_bytes() == &pubkey[..32] =>
            {
                let mut stolen = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
                stolen.set(secret);
                stolen.dh(shown.as_bytes(), out)
            }
            _ => self.honest.dh(pubkey, out),
        }
    }
}
