//! Ed25519 keys: the only kind.

use std::fmt;
use std::path::Path;

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use webpki::ring::ED25519;

use crate::error::{CertError, FileError};
use crate::files;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// A signature.
pub type Signature = [u8; SIGNATURE_BYTES];

/// What stands before the 32 bytes of a seed in PKCS #8 (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// What stands before the 32 bytes of a key in a `SubjectPublicKeyInfo` (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A private key. Its text forms never show it.
pub struct PrivateKey {
    pair: KeyPair,
    public: PublicKey,
}

impl PrivateKey {
    /// A new key from the system's random source.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn generate() -> Result<Self, CertError> {
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(CertError::MakeKey)?;
        Self::of_pair(pair)
    }

    /// The key that follows from 32 secret bytes.
    ///
    /// # Errors
    ///
    /// When they are not taken; no 32 bytes are known for which that holds.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, CertError> {
        Self::from_pkcs8(&[&PKCS8_HEAD[..], seed].concat())
    }

    /// Reads what [`PrivateKey::to_pkcs8`] wrote.
    ///
    /// # Errors
    ///
    /// When it is not an Ed25519 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CertError> {
        let der = PrivatePkcs8KeyDer::from(der);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519);
        Self::of_pair(pair.map_err(|_| CertError::ReadKey)?)
    }

    fn of_pair(pair: KeyPair) -> Result<Self, CertError> {
        let raw = <[u8; 32]>::try_from(pair.public_key_raw()).map_err(|_| CertError::ReadKey)?;
        let public = PublicKey::from_bytes(raw);
        Ok(Self { pair, public })
    }

    /// The key as PKCS #8, for a file that nobody else can read.
    pub fn to_pkcs8(&self) -> Vec<u8> {
        self.pair.serialize_der()
    }

    /// The key in a file; a new one, written there for its owner only, when there is no file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, is open to others, or holds no such key.
    pub fn load_or_generate(path: &Path) -> Result<Self, CertError> {
        if let Some(bytes) = files::read(path, true)? {
            let content = |_| {
                let path = path.to_owned();
                CertError::File(FileError::Content { path })
            };
            return Self::from_pkcs8(&bytes).map_err(content);
        }
        let key = Self::generate()?;
        files::write(path, &key.to_pkcs8())?;
        Ok(key)
    }

    /// Its public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`.
    ///
    /// # Errors
    ///
    /// When the library fails; it has no reason to.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, CertError> {
        let signature = self
            .pair
            .sign(message)
            .map_err(CertError::MakeCertificate)?;
        signature.try_into().map_err(|_| CertError::ReadKey)
    }

    pub(crate) const fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(crate) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.to_pkcs8()).into()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {:?})", self.public)
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key from its 32 bytes. Whether there is a private half shows when a signature holds.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` over `message` is this key's.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        ED25519
            .verify_signature(&self.0, message, signature)
            .is_ok()
    }

    /// Reads a `SubjectPublicKeyInfo` of an Ed25519 key.
    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        let raw = der.strip_prefix(&SPKI_HEAD[..])?;
        raw.try_into().ok().map(Self)
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_sign() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        assert_eq!(key.public(), again.public());
        let signature = again.sign(b"text").unwrap();
        assert!(key.public().verifies(b"text", &signature));
        assert!(!key.public().verifies(b"texu", &signature));
        let other = PrivateKey::generate().unwrap();
        assert!(!other.public().verifies(b"text", &signature));
        let spki = key.public().subject_public_key_info();
        assert_eq!(PublicKey::from_spki(&spki), Some(*key.public()));
        assert_eq!(PublicKey::from_spki(&spki[1..]), None);
    }

    /// RFC 8032, section 7.1, test 1.
    #[test]
    fn a_seed_gives_the_key_of_the_specification() {
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let key = PrivateKey::from_seed(&seed).unwrap();
        assert_eq!(key.public().as_bytes(), &public);
        assert!(!format!("{key:?}").contains("9d61"));
    }

    fn hex(text: &str) -> [u8; 32] {
        text.parse::<ppwasm_proto::Digest>()
            .unwrap()
            .as_bytes()
            .to_owned()
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("artifact.key");
        let made = PrivateKey::load_or_generate(&path).unwrap();
        let again = PrivateKey::load_or_generate(&path).unwrap();
        assert_eq!(made.public(), again.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |mode| std::fs::Permissions::from_mode(mode);
            let found = std::fs::metadata(&path).unwrap().permissions();
            assert_eq!(found.mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, mode(0o640)).unwrap();
            assert!(matches!(
                PrivateKey::load_or_generate(&path),
                Err(CertError::File(FileError::OpenToOthers { .. }))
            ));
            std::fs::set_permissions(&path, mode(0o600)).unwrap();
        }
        std::fs::write(&path, b"no key").unwrap();
        assert!(matches!(
            PrivateKey::load_or_generate(&path),
            Err(CertError::File(FileError::Content { .. }))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"no key", "it is left alone");
    }

    #[test]
    fn other_keys_are_refused() {
        let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(matches!(
            PrivateKey::from_pkcs8(p256.serialized_der()),
            Err(CertError::ReadKey)
        ));
        assert!(PrivateKey::from_pkcs8(b"").is_err());
    }
}
