//! pd-kubelet.
