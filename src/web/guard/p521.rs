//! The group P-521 for key exchange. Web configurations may ask for it, and the TLS library's own
//! cryptography lacks it.

use p521::{
    EncodedPoint, PublicKey,
    ecdh::EphemeralSecret,
    elliptic_curve::{rand_core::OsRng, sec1::ToEncodedPoint},
};
use rustls::{
    Error, NamedGroup, PeerMisbehaved,
    crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup},
};

/// The group.
#[derive(Debug)]
pub(super) struct P521;

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = EphemeralSecret::random(&mut OsRng);
        let public = secret.public_key().to_encoded_point(false);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

/// A key exchange that has begun.
struct Exchange {
    secret: EphemeralSecret,
    public: EncodedPoint,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        // TLS uses only uncompressed points; parsing checks that the point is on the curve.
        let uncompressed = peer.first() == Some(&4);
        let peer = PublicKey::from_sec1_bytes(peer);
        match peer {
            Ok(peer) if uncompressed => {
                let shared = self.secret.diffie_hellman(&peer);
                Ok(SharedSecret::from(&shared.raw_secret_bytes()[..]))
            }
            _ => Err(PeerMisbehaved::InvalidKeyShare.into()),
        }
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}
