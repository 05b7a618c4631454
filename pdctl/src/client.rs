//! The way to the API server: an ordinary kubeconfig becomes a kube client.

use std::time::Duration;

use http::{Request, header::ACCEPT};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::DynamicObject,
};
use serde::de::DeserializeOwned;

use crate::{
    cli::Global,
    errors::{self, Error, Origin, Result},
    suggest, text,
};

/// A server that does not complete the TCP handshake within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One cluster, as the kubeconfig describes it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) config: Config,
    /// Of the flag, else of the context, else `default`.
    pub(crate) namespace: String,
    pub(crate) origin: Origin,
}

impl Cluster {
    /// Reads the kubeconfig; the first request connects.
    pub(crate) async fn connect(global: &Global) -> Result<Self> {
        let (kubeconfig, file) = read_kubeconfig(global)?;
        let context = context_of(&kubeconfig, global, &file)?;
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let wrong = |reason: String| Error::Kubeconfig {
            message: format!("cannot use context `{context}` of {file}: {reason}"),
            hint:
                "compare it with a kubeconfig that works: `pd-apiserver` writes admin.kubeconfig into its data folder"
                    .to_owned(),
        };
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| wrong(error.to_string()))?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config.clone()).map_err(|error| wrong(error.to_string()))?;
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let origin = Origin { server, kubeconfig: file, context };
        Ok(Self { client, config, namespace, origin })
    }

    /// Turns a failed request into an error; `doing` says what was attempted.
    pub(crate) fn failed(&self, doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
        let doing = doing.into();
        move |error| errors::from_kube(&self.origin, doing, error)
    }

    /// A typed API in a namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Sends a request of kube's making, with another `Accept`, and reads the answer as JSON.
    pub(crate) async fn request<T: DeserializeOwned>(
        &self,
        doing: &str,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
        accept: Option<&'static str>,
    ) -> Result<T> {
        let mut request = request.map_err(|error| Error::invalid(format!("{doing}: {error}")))?;
        if let Some(accept) = accept {
            request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static(accept));
        }
        self.client.request(request).await.map_err(self.failed(doing))
    }
}

/// Name of an object, for messages.
pub(crate) fn name_of(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

/// Where a kubeconfig comes from.
const HINT: &str = "name one with --kubeconfig or $KUBECONFIG: `pd-apiserver` writes admin.kubeconfig into its data \
                    folder, `pd-local kubeconfig NAME` prints the path of a local cluster's";

/// The kubeconfig and the name of its file or files.
pub(crate) fn read_kubeconfig(global: &Global) -> Result<(Kubeconfig, String)> {
    let failed = |file: &str| {
        let file = file.to_owned();
        move |error: KubeconfigError| Error::Kubeconfig {
            message: kubeconfig_reason(&file, &error),
            hint: HINT.to_owned(),
        }
    };
    if let Some(path) = &global.kubeconfig {
        let file = path.display().to_string();
        return named_config(Kubeconfig::read_from(path).map_err(failed(&file))?, file);
    }
    let from_env = std::env::var("KUBECONFIG").unwrap_or_default();
    if let Some(kubeconfig) = Kubeconfig::from_env().map_err(failed(&from_env))? {
        return named_config(kubeconfig, from_env);
    }
    let Some(path) = std::env::home_dir().map(|home| home.join(".kube").join("config")) else {
        return Err(Error::Kubeconfig {
            message: "no kubeconfig, and no home folder to look for it".to_owned(),
            hint: HINT.to_owned(),
        });
    };
    if !path.exists() {
        let message = format!(
            "no kubeconfig: neither --kubeconfig nor $KUBECONFIG is set, and {} does not exist",
            path.display()
        );
        return Err(Error::Kubeconfig { message, hint: HINT.to_owned() });
    }
    let file = path.display().to_string();
    named_config(Kubeconfig::read_from(&path).map_err(failed(&file))?, file)
}

/// Refuses another object than a kubeconfig, which would read as one without contexts.
fn named_config(kubeconfig: Kubeconfig, file: String) -> Result<(Kubeconfig, String)> {
    match kubeconfig.kind.as_deref() {
        None | Some("" | "Config") => Ok((kubeconfig, file)),
        Some(kind) => Err(Error::Kubeconfig {
            message: format!("{file} is no kubeconfig: its kind is `{}`", text::one_line(kind)),
            hint: HINT.to_owned(),
        }),
    }
}

/// Why a kubeconfig cannot be read.
fn kubeconfig_reason(file: &str, error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(source, path) => {
            format!("cannot read the kubeconfig `{}`: {}", path.display(), errors::io_reason(source))
        }
        other => format!("cannot read the kubeconfig `{file}`: {other}"),
    }
}

/// The context to use, which must be in the kubeconfig.
fn context_of(kubeconfig: &Kubeconfig, global: &Global, file: &str) -> Result<String> {
    let known = || kubeconfig.contexts.iter().map(|context| context.name.as_str());
    let listed = || known().collect::<Vec<_>>().join(", ");
    let Some(name) =
        global.context.clone().or_else(|| kubeconfig.current_context.clone()).filter(|name| !name.is_empty())
    else {
        return Err(Error::Kubeconfig {
            message: format!("{file} has no current context"),
            hint: format!("choose one with --context: {}", listed()),
        });
    };
    if known().any(|context| context == name) {
        return Ok(name);
    }
    let hint = suggest::did_you_mean(&name, known()).unwrap_or_else(|| format!("it has: {}", listed()));
    Err(Error::Kubeconfig { message: format!("{file} has no context `{name}`"), hint })
}
