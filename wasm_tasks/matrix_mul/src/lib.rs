//! matrix_mul.
