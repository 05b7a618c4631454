//! Who a request speaks for instead of its sender: `kubectl --as`, and proxies that let their users in.
//!
//! In: who sends it, and its headers. Out: who it is to count as, or a refusal in Kubernetes' words. An impersonation that
//! is not understood is never left out: the request would have the rights of its sender.

use http::{HeaderMap, StatusCode};
use schemas::well_known::groups;

use super::status::{Reason, Refusal};
use crate::auth::Identity;

const PREFIX: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
/// What else can be said of somebody: it is nowhere asked for here.
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Who the request counts as.
pub(super) fn impersonated(sender: Identity, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let mut asked = headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with(PREFIX)).peekable();
    if asked.peek().is_none() {
        return Ok(sender);
    }
    if let Some(unknown) = asked.find(|name| !(matches!(*name, USER | GROUP | UID) || name.starts_with(EXTRA))) {
        return Err(bad(format!(
            "the header {unknown} is not known: there are Impersonate-User and Impersonate-Group"
        )));
    }
    let text = |value: &http::HeaderValue| {
        value.to_str().map(str::to_owned).map_err(|_| bad("an Impersonate- header is not text".to_owned()))
    };
    let user = headers.get(USER).map(text).transpose()?.filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| bad("requested to impersonate without impersonating a user".to_owned()))?;
    if !sender.has(groups::ADMINS) {
        let message = format!(
            "users \"{user}\" is forbidden: User \"{}\" cannot impersonate resource \"users\" in API group \"\" at the \
             cluster scope",
            sender.user
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, Reason::Forbidden, message));
    }
    let groups = headers.get_all(GROUP).iter().map(text).collect::<Result<_, _>>()?;
    Ok(Identity { user, groups, namespace: None, token: None })
}

fn bad(message: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, Reason::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn sender(group: &str) -> Identity {
        Identity { user: "x".to_owned(), groups: vec![group.to_owned()], namespace: None, token: None }
    }

    fn asks(group: &str, headers: &[(&'static str, &'static str)]) -> Result<Identity, u16> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        impersonated(sender(group), &map).map_err(|refusal| refusal.into_response().status().as_u16())
    }

    #[test]
    fn an_admin_may_be_anybody_and_has_no_more_rights_than_that_one() {
        let bob = asks(groups::ADMINS, &[(USER, "bob"), (GROUP, "a"), (GROUP, "b")]).expect("bob");
        assert_eq!((bob.user.as_str(), bob.groups), ("bob", vec!["a".to_owned(), "b".to_owned()]));
        let alone = asks(groups::ADMINS, &[(USER, "bob"), (UID, "7"), ("impersonate-extra-scopes", "view")]);
        assert_eq!(alone.expect("bob").groups, Vec::<String>::new());
    }

    #[test]
    fn nobody_else_may_and_nothing_half_said_is_left_out() {
        assert_eq!(asks(groups::NODES, &[(USER, "bob")]), Err(403));
        assert_eq!(asks(groups::ADMINS, &[(GROUP, "a")]), Err(400));
        assert_eq!(asks(groups::ADMINS, &[(USER, "")]), Err(400));
        assert_eq!(asks(groups::ADMINS, &[(USER, "bob"), ("impersonate-node", "a")]), Err(400));
        assert_eq!(asks(groups::NODES, &[]).map(|same| same.user), Ok("x".to_owned()));
    }
}
