//! Client certificates: CN is the user, each O a group.
//!
//! In: a certificate that the TLS handshake has verified against our CA. Out: an identity.

use x509_parser::{parse_x509_certificate, x509::AttributeTypeAndValue};

use super::Identity;

/// Who a verified client certificate (DER) speaks for; `None` when it names nobody.
pub fn identity_of(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let user = subject.iter_common_name().next().and_then(text).filter(|user| !user.is_empty())?;
    let groups = subject.iter_organization().filter_map(text).collect();
    Some(Identity { user, groups, namespace: None, token: None })
}
