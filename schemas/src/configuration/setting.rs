//! The ten keys, under each of the names that they have.

/// One key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In a file: `controller.max_nodes`.
    pub key: &'static str,
    /// As a flag, without the dashes: `max-nodes`.
    pub flag: &'static str,
    /// As an environment variable: `PD_MAX_NODES`.
    pub environment: &'static str,
    /// True when a running server takes a new value over.
    pub is_live: bool,
}

const fn setting(key: &'static str, flag: &'static str, environment: &'static str, is_live: bool) -> Setting {
    Setting { key, flag, environment, is_live }
}

/// Every key, in the order of the file.
pub const SETTINGS: [Setting; 10] = [
    setting("controller.port", "port", "PD_PORT", false),
    setting("controller.max_nodes", "max-nodes", "PD_MAX_NODES", true),
    setting("controller.task_timeout", "task-timeout", "PD_TASK_TIMEOUT", true),
    setting("controller.work_stealing_enabled", "work-stealing-enabled", "PD_WORK_STEALING_ENABLED", true),
    setting("security.token_duration", "token-duration", "PD_TOKEN_DURATION", true),
    setting("security.require_tls", "require-tls", "PD_REQUIRE_TLS", false),
    setting("security.sandbox_memory_limit", "sandbox-memory-limit", "PD_SANDBOX_MEMORY_LIMIT", true),
    setting("performance.max_retries", "max-retries", "PD_MAX_RETRIES", true),
    setting("performance.retry_delay", "retry-delay", "PD_RETRY_DELAY", true),
    setting("performance.task_queue_size", "task-queue-size", "PD_TASK_QUEUE_SIZE", true),
];

impl Setting {
    /// The setting with that key.
    pub fn of_key(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// As a JSON pointer into the configuration: `/controller/max_nodes`.
    pub(super) fn pointer(&self) -> String {
        format!("/{}", self.key.replace('.', "/"))
    }
}
