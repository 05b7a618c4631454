//! `pdctl token create`: credentials that expire, and the single-use token with which a node joins.

use kube::api::PostParams;
use schemas::{Digest, Token, TokenSpec, token::Role};

use crate::{
    cli::Global,
    client::Cluster,
    errors::{Error, Result},
    output,
    writes::FIELD_MANAGER,
};

const EXAMPLES: &str = "\
Examples:
  pdctl token create --role Join > join.token    # prints the line for the new machine
  pdctl token create --role View -n team --ttl 8h
  pdctl get tokens";

/// What to do with tokens; list and delete them with `get tokens` and `delete token NAME`.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Make a token and print it on stdout; it is shown this once
    #[command(after_help = EXAMPLES)]
    Create(Create),
}

#[derive(clap::Args)]
pub(crate) struct Create {
    /// What it allows: Admin, Edit, View, Metrics, or Join (one node, once)
    #[arg(long, value_parser = parse_role)]
    role: Role,
    /// How long it lives: 24h by default, 1h for Join
    #[arg(long, value_name = "DURATION")]
    ttl: Option<schemas::Duration>,
    /// Name of the Token; default: one is made up
    #[arg(long)]
    name: Option<String>,
}

fn parse_role(text: &str) -> Result<Role, String> {
    const ROLES: [(&str, Role); 5] = [
        ("admin", Role::Admin),
        ("edit", Role::Edit),
        ("view", Role::View),
        ("metrics", Role::Metrics),
        ("join", Role::Join),
    ];
    let found = ROLES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    found.map(|(_, role)| *role).ok_or_else(|| "one of Admin, Edit, View, Metrics, Join".to_owned())
}

/// Runs the verb.
pub(crate) async fn run(action: Action, global: &Global) -> Result<()> {
    match action {
        Action::Create(args) => create(args, global).await,
    }
}

async fn create(args: Create, global: &Global) -> Result<()> {
    let namespace = global.namespace.clone();
    if namespace.is_some() && !matches!(args.role, Role::Edit | Role::View) {
        return Err(Error::usage("--namespace goes with the roles Edit and View only"));
    }
    let cluster = Cluster::connect(global).await?;
    let spec = TokenSpec { role: args.role, namespace, ttl: args.ttl };
    // The CA first: a token whose join line cannot be printed would be lost.
    let ca_hash = if args.role == Role::Join { Some(ca_hash(&cluster).await?) } else { None };
    let Made { name, secret, expires } = make(&cluster, spec, args.name).await?;
    output::print_line(&secret)?;
    if let Some(ca_hash) = ca_hash {
        output::note(&join_help(&cluster.origin.server, &ca_hash, &secret));
    } else if let Some(expires) = expires {
        output::note(&format!("token `{name}` expires at {expires}"));
    }
    Ok(())
}

/// A new token.
struct Made {
    name: String,
    secret: String,
    expires: Option<jiff::Timestamp>,
}

async fn make(cluster: &Cluster, spec: TokenSpec, name: Option<String>) -> Result<Made> {
    const DOING: &str = "cannot create the token";
    let prefix = format!("{:?}-", spec.role).to_lowercase();
    let mut token = Token::new("", spec);
    token.metadata.generate_name = name.is_none().then_some(prefix);
    token.metadata.name = name;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let api: kube::Api<Token> = kube::Api::all(cluster.client.clone());
    let created = api.create(&params, &token).await.map_err(cluster.failed(DOING))?;
    let status = created.status.unwrap_or_default();
    let absent = || Error::Answer { doing: DOING.to_owned(), reason: "it has no status.token".to_owned() };
    let secret = status.token.ok_or_else(absent)?;
    Ok(Made { name: created.metadata.name.unwrap_or_default(), secret, expires: status.expires_at })
}

/// Makes a join token, and answers the line that spends it.
pub(crate) async fn join_line(global: &Global) -> Result<String> {
    let cluster = Cluster::connect(global).await?;
    let ca_hash = ca_hash(&cluster).await?;
    let spec = TokenSpec { role: Role::Join, namespace: None, ttl: None };
    let secret = make(&cluster, spec, None).await?.secret;
    Ok(join_command(&cluster.origin.server, &ca_hash, &format!("--token {secret}")))
}

fn join_command(server: &str, ca_hash: &str, token: &str) -> String {
    format!("pdctl join {server} --ca-hash {ca_hash} {token}")
}

/// Whoever has sent the token into a file does not want it on the terminal.
fn join_help(server: &str, ca_hash: &str, secret: &str) -> String {
    let (first, token) = if output::stdout_is_terminal() {
        ("Run", format!("--token {secret}"))
    } else {
        ("Save the token in a file on the new machine, and run", "--token-file join.token".to_owned())
    };
    let line = join_command(server, ca_hash, &token);
    let by_hand = format!(
        "pd-kubelet --server {server} --ca-hash {ca_hash} --token-file join.token --data-dir /var/lib/pd-kubelet"
    );
    format!("{first} there, as root (it joins one node, once):\n  {line}\nWithout systemd:\n  {by_hand}")
}

/// `sha256:…` over the public key of the cluster's CA, as the kubelet checks it before it trusts the CA.
async fn ca_hash(cluster: &Cluster) -> Result<String> {
    let doing = "cannot fetch the cluster's CA";
    let request =
        http::Request::get("/ca").body(Vec::new()).map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
    let pem = cluster.client.request_text(request).await.map_err(cluster.failed(doing))?;
    let answer = |reason: &str| Error::Answer { doing: doing.to_owned(), reason: reason.to_owned() };
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| answer(&error.to_string()))?;
    let certificate = block.parse_x509().map_err(|error| answer(&error.to_string()))?;
    Ok(Digest::of(certificate.public_key().raw).to_string())
}
