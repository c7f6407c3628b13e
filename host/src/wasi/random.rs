//! The random bytes that a guest gets.

use std::io::Read;

use super::errno::Errno;

/// Where a job's random bytes come from.
#[derive(Clone)]
pub enum Random {
    /// A stream that the seed determines: BLAKE3, keyed with the seed, extended for as long as is asked.
    Seeded([u8; 32]),
    /// A function that fills a buffer with entropy, or says that it could not. The opt-out.
    Entropy(fn(&mut [u8]) -> bool),
}

impl Default for Random {
    fn default() -> Self {
        Self::Seeded([0; 32])
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Seeded(_) => "Seeded",
            Self::Entropy(_) => "Entropy",
        })
    }
}

/// What is hashed under the seed: names the use, so that the seed can serve others too.
const CONTEXT: &[u8] = b"ppwasm random stream 1";

/// A random source that has been started. Hashing begins with the first bytes that are asked for.
pub(crate) struct RandomStream {
    source: Random,
    stream: Option<Box<blake3::OutputReader>>,
}

impl RandomStream {
    pub(crate) fn new(source: Random) -> Self {
        Self {
            source,
            stream: None,
        }
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Errno> {
        match &self.source {
            Random::Seeded(seed) => {
                let stream = self.stream.get_or_insert_with(|| {
                    Box::new(
                        blake3::Hasher::new_keyed(seed)
                            .update(CONTEXT)
                            .finalize_xof(),
                    )
                });
                stream.read_exact(buffer).map_err(|_| Errno::IO)
            }
            Random::Entropy(fill) => {
                if fill(buffer) {
                    Ok(())
                } else {
                    Err(Errno::IO)
                }
            }
        }
    }
}
