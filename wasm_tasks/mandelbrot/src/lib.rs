//! mandelbrot.
