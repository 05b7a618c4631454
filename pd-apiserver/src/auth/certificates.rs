//! Client certificates: CN is the user, each O a group.
//!
//! In: a certificate that the TLS handshake has verified against our CA. Out: an identity.

use jiff::Timestamp;
use x509_parser::{parse_x509_certificate, x509::AttributeTypeAndValue};

use super::Identity;

/// The client at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// From then on its certificate is refused.
    pub not_after: Timestamp,
}

/// Who a verified client certificate (DER) speaks for; `None` when it names nobody.
pub fn peer_of(der: &[u8]) -> Option<Peer> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let user = subject.iter_common_name().next().and_then(text).filter(|user| !user.is_empty())?;
    let groups = subject.iter_organization().filter_map(text).collect();
    let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
    Some(Peer { identity: Identity { user, groups, namespace: None, token: None }, not_after })
}
