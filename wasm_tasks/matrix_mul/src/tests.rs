//! Products against the plain triple loop, bit by bit; files in every form against each other.

use task_sdk::testing::{run_parts, run_whole, with_kernels};
use task_sdk::{Failure, Task};

use super::generate::Generator;
use super::{Dtype, MatrixMul, Product, npy};

fn matrix(seed: u64, rows: u64, columns: u64) -> Vec<f64> {
    let generator = Generator::new(seed, 7, columns);
    (0..rows).flat_map(|i| (0..columns).map(move |j| generator.element(i, j))).collect()
}

fn plain(a: &[f64], b: &[f64], inner: usize, columns: usize) -> Vec<f64> {
    let mut product = Vec::new();
    for a in a.chunks_exact(inner) {
        for column in 0..columns {
            let mut sum = 0.0;
            for (k, a) in a.iter().enumerate() {
                sum += a * b[k * columns + column];
            }
            product.push(sum);
        }
    }
    product
}

fn npy_file(header: &str, version: u8, elements: &[u8]) -> Vec<u8> {
    let length = (header.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", &[version, 0][..], length, header.as_bytes(), elements].concat()
}

fn file(rows: u64, columns: u64, elements: &[f64], dtype: Dtype) -> Vec<u8> {
    [npy::header_text(dtype, rows, columns), dtype.encode(elements)].concat()
}

fn fortran_file(rows: usize, columns: usize, elements: &[f64], dtype: Dtype) -> Vec<u8> {
    let turned: Vec<f64> = (0..columns).flat_map(|j| (0..rows).map(move |i| elements[i * columns + j])).collect();
    let descr = dtype.descr();
    let header = format!("{{'descr': '{descr}', 'fortran_order': True, 'shape': ({rows}, {columns}), }}   \n");
    npy_file(&header, 2, &dtype.encode(&turned))
}

#[test]
fn blocks_of_any_shape_equal_the_plain_loop() {
    for (rows, inner, columns) in [(1, 1, 1), (6, 256, 4), (7, 257, 5), (13, 700, 9), (128, 30, 127), (5, 3, 2)] {
        let (a, b) = (matrix(1, rows, inner), matrix(2, inner, columns));
        let mut product = Product::new(rows as usize, columns as usize);
        product.add(&a, &b, inner as usize);
        assert!(product.into_rows() == plain(&a, &b, inner as usize, columns as usize), "{rows} {inner} {columns}");
    }
}

#[test]
fn the_machines_kernel_is_used_where_it_is_offered_and_changes_no_bit() {
    let (rows, inner, columns) = (19, 40, 23);
    let (mut a, b) = (matrix(1, rows, inner), matrix(2, inner, columns));
    // Two that are not numbers in ways of their own, and what becomes one.
    (a[3], a[80]) = (f64::from_bits(0xfff8_0000_0000_0007), f64::from_bits(0x7ff0_0000_0000_0001));
    (a[200], a[201]) = (f64::INFINITY, f64::NEG_INFINITY);
    let (a, b) = (file(rows, inner, &a, Dtype::F64), file(inner, columns, &b, Dtype::F64));
    for (params, inputs) in [
        (r#"{"tileSize": 8}"#, vec![("a", &a[..]), ("b", &b)]),
        (r#"{"size": 70, "tileSize": 33}"#, vec![]),
        (r#"{"size": 20, "dtype": "f32"}"#, vec![]),
    ] {
        let own = run_whole::<MatrixMul>(params, &inputs).unwrap();
        let (offered, calls) = with_kernels(|| run_whole::<MatrixMul>(params, &inputs).unwrap());
        assert!(own.result == offered.result, "{params}");
        assert_eq!(calls, own.layout.subtasks, "{params}");
    }
    let own = run_whole::<MatrixMul>("", &[("a", &a), ("b", &b)]).unwrap();
    let canonical = f64::NAN.to_le_bytes();
    assert!(own.result[128..].as_chunks::<8>().0.iter().filter(|element| **element == canonical).count() >= 23);
}

#[test]
fn files_in_every_form_give_the_same_product_whatever_the_tiles() {
    let (rows, inner, columns) = (37, 300, 23);
    let (a, b) = (matrix(1, rows, inner), matrix(2, inner, columns));
    let expected = file(rows, columns, &plain(&a, &b, inner as usize, columns as usize), Dtype::F64);
    let a_files = [file(rows, inner, &a, Dtype::F64), fortran_file(37, 300, &a, Dtype::F64)];
    let b_files = [file(inner, columns, &b, Dtype::F64), fortran_file(300, 23, &b, Dtype::F64)];
    for a in &a_files {
        for b in &b_files {
            for tile in [1, 7, 16, 128] {
                let params = format!(r#"{{"tile_size": {tile}}}"#);
                let finished = run_whole::<MatrixMul>(&params, &[("a", a), ("b", b)]).unwrap();
                assert!(finished.result == expected, "tiles of {tile}");
            }
        }
    }
}

#[test]
fn single_precision_is_summed_in_double_and_rounded_once() {
    let single = |values: Vec<f64>| values.into_iter().map(|value| f64::from(value as f32)).collect::<Vec<_>>();
    let (a, b) = (single(matrix(3, 10, 50)), single(matrix(4, 50, 6)));
    let sums = plain(&a, &b, 50, 6);
    let (a32, b32) = (file(10, 50, &a, Dtype::F32), fortran_file(50, 6, &b, Dtype::F32));
    let finished = run_whole::<MatrixMul>("", &[("a", &a32), ("b", &b32)]).unwrap();
    assert!(finished.result == file(10, 6, &sums, Dtype::F32));
    let b64 = file(50, 6, &b, Dtype::F64);
    let finished = run_whole::<MatrixMul>("", &[("a", &a32), ("b", &b64)]).unwrap();
    assert!(finished.result == file(10, 6, &sums, Dtype::F64));
}

#[test]
fn generated_matrices_do_not_depend_on_the_tiles() {
    let (a, b) = (Generator::new(42, 0, 70), Generator::new(42, 1, 70));
    let elements = |matrix: Generator| (0..4900).map(|k| matrix.element(k / 70, k % 70)).collect::<Vec<_>>();
    let (a, b) = (elements(a), elements(b));
    assert!(a.iter().chain(&b).all(|element| (-1.0..1.0).contains(element)));
    let mean = a.iter().sum::<f64>() / 4900.0;
    assert!(mean.abs() < 0.05, "{mean}");
    let expected = file(70, 70, &plain(&a, &b, 70, 70), Dtype::F64);
    for params in [
        r#"{"size": 70, "seed": 42}"#,
        r#"{"matrixSize": 70, "seed": 42, "tileSize": 9}"#,
        r#"{"matrix_size": 70, "seed": 42, "tile_size": 1}"#,
    ] {
        assert!(run_whole::<MatrixMul>(params, &[]).unwrap().result == expected, "{params}");
    }
    let single = run_whole::<MatrixMul>(r#"{"size": 8, "dtype": "f32"}"#, &[]).unwrap().result;
    assert_eq!(single.len(), 128 + 8 * 8 * 4);
}

#[test]
fn the_header_of_a_result_is_what_numpy_writes() {
    let header = npy::header_text(Dtype::F64, 3, 4);
    assert_eq!(header.len(), 128);
    assert!(
        header.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }")
    );
    assert!(header.ends_with(b" \n"));
}

#[test]
fn what_cannot_be_multiplied_is_refused_with_its_shapes() {
    let good = file(2, 3, &[0.0; 6], Dtype::F64);
    let refused = |a: &[u8], b: &[u8]| match run_parts::<MatrixMul>("", &[("a", a), ("b", b)]).map(|_| ()) {
        Err(Failure::Permanent(text)) => text,
        other => panic!("{other:?}"),
    };
    let with_header = |header: &str| npy_file(header, 1, &[0; 48]);
    for (a, message) in [
        (b"PK\x03\x04 not numpy at all".to_vec(), "input `a`: it is not a .npy file"),
        (b"\x93NUM".to_vec(), "input `a`: it is not a .npy file"),
        (good[..100].to_vec(), "its header claims 118 bytes; the file has 100"),
        (good[..150].to_vec(), "its shape (2, 3) means 176 bytes; the file has 150"),
        (npy_file("{}    ", 9, &[]), "it is .npy version 9.0; this task reads 1 to 3"),
        (with_header("{'descr': '>f8', 'fortran_order': False, 'shape': (2, 3), }"), "big-endian ('>f8')"),
        (with_header("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }"), "its elements are '<i8'"),
        (
            with_header("{'descr': [('x', '<f8')], 'fortran_order': False, 'shape': (6,), }"),
            "elements are [('x', '<f8')]",
        ),
        (with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (6,), }"), "its shape is (6,)"),
        (with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3), }"), "its shape is (1, 2, 3)"),
        (with_header("{'descr': '<f8', 'shape': (2, 3), }"), "its header has no `fortran_order`"),
        (good.clone(), "but a is 2 × 3, b is 2 × 3"),
    ] {
        let text = refused(&a, &good);
        assert!(text.contains(message), "{text} instead of {message}");
    }
    let empty = file(0, 3, &[], Dtype::F64);
    let b = file(3, 2, &[0.0; 6], Dtype::F64);
    assert_eq!(refused(&empty, &b), "there is nothing to multiply: a is 0 × 3, b is 3 × 2");
}

#[test]
fn wrong_params_are_refused_for_good() {
    let a = file(1, 1, &[1.0], Dtype::F64);
    for (params, inputs, message) in [
        ("{}", vec![], "give the inputs a and b, or size to generate them"),
        ("{}", vec![("a", &a[..])], "input `a` is there, but not `b`"),
        ("{}", vec![("b", &a[..])], "input `b` is there, but not `a`"),
        (r#"{"size": 3}"#, vec![("a", &a[..]), ("b", &a)], "give either size or the inputs a and b, not both"),
        (r#"{"size": 0}"#, vec![], "size is 0; it must be 1 to 1000000"),
        (r#"{"size": 3, "tileSize": 0}"#, vec![], "tileSize is 0; it must be 1 to 1024"),
        (r#"{"size": 3, "dtype": "i8"}"#, vec![], "unknown variant `i8`, expected `f32` or `f64`"),
    ] {
        let Err(Failure::Permanent(text)) = run_parts::<MatrixMul>(params, &inputs).map(|_| ()) else {
            panic!("{params}")
        };
        assert!(text.contains(message), "{params}: {text}");
    }
    assert_eq!(MatrixMul::NAME, "matrix-mul");
}

/// Not a check but a measurement: `cargo test --release -p matrix_mul -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn tiles_of_a_thousand() {
    let (a, b) = (matrix(1, 128, 1024), matrix(2, 1024, 128));
    let started = std::time::Instant::now();
    for _ in 0..64 {
        let mut product = Product::new(128, 128);
        product.add(&a, &b, 1024);
        std::hint::black_box(product.into_rows());
    }
    println!("{:.1} GFLOP/s", 64.0 * 2.0 * 128.0 * 128.0 * 1024.0 / started.elapsed().as_secs_f64() / 1e9);
}
