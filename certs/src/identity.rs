//! Who somebody is: trust domain, role and name, as one URI.

use std::fmt;
use std::str::FromStr;

use ppwasm_proto::fabric::{ClientName, WorkerId};
use ppwasm_proto::wire::Party;

use crate::error::IdentityError;

/// Bytes of an identity's URI: all parts at their longest.
pub const URI_BYTES_MAX: usize =
    SCHEME.len() + PART_BYTES_MAX + 1 + "coordinator".len() + 1 + PART_BYTES_MAX;
const SCHEME: &str = "ppwasm://";
const PART_BYTES_MAX: usize = 64;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs the coordinator; the only role that accepts connections.
    Coordinator,
    /// Runs tasks.
    Worker,
    /// Submits jobs.
    Client,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Coordinator, Self::Worker, Self::Client];

    /// The name, as it stands in an identity.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Client => "client",
        }
    }

    /// The role as a party of a conversation.
    pub const fn party(self) -> Party {
        match self {
            Self::Coordinator => Party::Coordinator,
            Self::Worker => Party::Worker,
            Self::Client => Party::Client,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(IdentityError::Role)
    }
}

/// The name of one installation: coordinators, workers and clients of another one are strangers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if is_part(text) && !text.contains('_') {
            Ok(Self(text.into()))
        } else {
            Err(IdentityError::Domain)
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

/// Who somebody is.
///
/// Written as `ppwasm://<trust-domain>/<role>/<name>`; one identity has one text.
///
/// ```
/// use ppwasm_certs::{Identity, Role};
///
/// let identity: Identity = "ppwasm://lab.example/worker/node-7".parse()?;
/// assert_eq!(identity.role(), Role::Worker);
/// assert_eq!(identity.name(), "node-7");
/// assert!("ppwasm://lab.example/worker/../client/ann".parse::<Identity>().is_err());
/// # Ok::<(), ppwasm_certs::IdentityError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    domain: TrustDomain,
    role: Role,
    name: Box<str>,
}

impl Identity {
    /// The identity of `name` in a role.
    ///
    /// # Errors
    ///
    /// When the name is not one.
    pub fn new(domain: TrustDomain, role: Role, name: &str) -> Result<Self, IdentityError> {
        if is_part(name) {
            let name = name.into();
            Ok(Self { domain, role, name })
        } else {
            Err(IdentityError::Name)
        }
    }

    /// The installation that it belongs to.
    pub const fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Its role.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Its name.
    pub const fn name(&self) -> &str {
        &self.name
    }

    /// Its name as a worker's, `None` in another role.
    pub fn worker(&self) -> Option<WorkerId> {
        match self.role {
            Role::Worker => self.name.parse().ok(),
            _ => None,
        }
    }

    /// Its name as a client's, `None` in another role.
    pub fn client(&self) -> Option<ClientName> {
        match self.role {
            Role::Client => self.name.parse().ok(),
            _ => None,
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bytes = text.len();
        if bytes > URI_BYTES_MAX {
            return Err(IdentityError::TooLong { bytes });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdentityError::Scheme)?;
        let mut parts = rest.split('/');
        let (Some(domain), Some(role), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdentityError::Parts);
        };
        Self::new(domain.parse()?, role.parse()?, name)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.domain, self.role, self.name)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

/// Names are a subset of those of workers and clients: two dots in a row mean something to whoever makes a path of one.
fn is_part(text: &str) -> bool {
    text.parse::<WorkerId>().is_ok() && !text.contains("..") && text.len() <= PART_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_one_text() {
        let longest = "a".repeat(PART_BYTES_MAX);
        for text in [
            "ppwasm://lab.example/worker/node-7".to_owned(),
            "ppwasm://l/client/ann_b.c".to_owned(),
            format!("ppwasm://{longest}/coordinator/{longest}"),
        ] {
            let identity: Identity = text.parse().unwrap();
            assert_eq!(identity.to_string(), text);
            assert!(text.len() <= URI_BYTES_MAX);
        }
    }

    #[test]
    fn case_48_malformed_identities_are_refused() {
        let longer = "a".repeat(PART_BYTES_MAX + 1);
        let huge = format!("ppwasm://d/worker/{}", "a".repeat(4096));
        for text in [
            "",
            "ppwasm://",
            "ppwasm://d",
            "ppwasm://d/worker",
            "ppwasm://d/worker/",
            "ppwasm://d//n",
            "ppwasm:///worker/n",
            "ppwasm://d/worker/n/",
            "ppwasm://d/worker/n/m",
            "ppwasm://d/worker/..",
            "ppwasm://d/worker/a..b",
            "ppwasm://d/worker/.",
            "ppwasm://../worker/n",
            "ppwasm://d..e/worker/n",
            "ppwasm://d_e/worker/n",
            "ppwasm://d/worker/n\0",
            "ppwasm://d\0/worker/n",
            "ppwasm://d/worker/n%2f",
            "ppwasm://d/worker%2fn/m",
            "ppwasm://D/worker/n",
            "ppwasm://d/Worker/n",
            "ppwasm://d/worker/N",
            "PPWASM://d/worker/n",
            "ppwasm:/d/worker/n",
            "spiffe://d/worker/n",
            "ppwasm://d:1/worker/n",
            "ppwasm://u@d/worker/n",
            "ppwasm://d/worker/n?x",
            "ppwasm://d/worker/n#x",
            "ppwasm://d/user/n",
            "ppwasm://d/worker/ä",
            "ppwasm://d/worker/-n",
            " ppwasm://d/worker/n",
            "ppwasm://d/worker/n\n",
            &format!("ppwasm://d/worker/{longer}"),
            &format!("ppwasm://{longer}/worker/n"),
            &huge,
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
        assert_eq!(
            huge.parse::<Identity>(),
            Err(IdentityError::TooLong { bytes: huge.len() })
        );
    }

    #[test]
    fn names_are_a_workers_or_a_clients_by_role() {
        let identity = |role| Identity::new("d".parse().unwrap(), role, "n").unwrap();
        assert!(identity(Role::Worker).worker().is_some());
        assert!(identity(Role::Worker).client().is_none());
        assert!(identity(Role::Client).client().is_some());
        assert!(identity(Role::Coordinator).worker().is_none());
    }
}
