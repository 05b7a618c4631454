//! Counts against the definition, images against the counts.

use task_sdk::testing::{MemoryHost, run_parts, run_whole};
use task_sdk::{Failure, Grid};

use super::{Colours, Mandelbrot, Palette, Params, View, count, tile_counts};

fn counts(params: &str) -> Vec<u32> {
    let result = run_whole::<Mandelbrot>(params, &[]).unwrap().result;
    result.chunks_exact(4).map(|cell| u32::from_le_bytes(cell.try_into().unwrap())).collect()
}

/// The whole image by the plain loop, one pixel after another.
fn plain(params: &Params) -> Vec<u32> {
    let view = View::of(params).unwrap();
    let pixels = (0..params.height).flat_map(|row| (0..params.width).map(move |column| (column, row)));
    pixels.map(|(column, row)| count(view.x(column.into()), view.y(row.into()), params.max_iterations)).collect()
}

#[test]
fn known_points_have_known_counts() {
    assert_eq!(count(0.0, 0.0, 100), 100);
    assert_eq!(count(-2.0, 0.0, 100), 100, "the tip of the antenna never leaves |z| = 2");
    assert_eq!(count(2.0, 0.0, 100), 2, "0, 2, 6");
    assert_eq!(count(3.0, 0.0, 100), 1, "0, 3");
    assert_eq!(count(1.0, 0.0, 100), 3, "0, 1, 2, 5");
    assert_eq!(count(1.0, 0.0, 2), 2);
}

#[test]
fn counts_equal_the_plain_loop_whatever_the_tiles() {
    for view in [
        "",
        r#","centerX": -0.743643887037151, "center_y": 0.13182590420533, "scale": 0.002"#,
        r#","bounds": {"minX": -2.5, "max_x": 4.0, "minY": -3.0, "max_y": 3.5}"#,
        r#","centerX": 0.25, "centerY": 0.0, "scale": 0.001"#,
        r#","centerX": -0.75, "centerY": 0.0, "scale": 0.01"#,
        r#","centerX": -1.25, "centerY": 0.0, "scale": 0.0001"#,
    ] {
        for (width, height, tile, max) in
            [(65, 47, 16, 77), (64, 48, 64, 1), (3, 70, 7, 700), (10, 9, 4, 3000), (6, 3, 2, 70_000)]
        {
            let params =
                format!(r#"{{"width": {width}, "height": {height}, "tile_size": {tile}, "maxIterations": {max}{view}"#);
            let expected = plain(&serde_json::from_str(&format!("{params}}}")).unwrap());
            assert!(counts(&format!(r#"{params}, "output": "counts"}}"#)) == expected, "{params}");
        }
    }
}

#[test]
fn orbits_that_end_anywhere_in_a_block_have_the_count_of_the_definition() {
    for max in 120..150 {
        let params = format!(
            r#"{{"width": 40, "height": 40, "tileSize": 40, "maxIterations": {max}, "centerX": -0.7463, "centerY": 0.1102,
                "scale": 0.005, "output": "counts"}}"#
        );
        let expected = plain(&serde_json::from_str(&params).unwrap());
        assert!(expected.iter().any(|count| (64..max).contains(count)), "long orbits that escape");
        assert_eq!(counts(&params), expected, "{max}");
    }
}

#[test]
fn the_png_shows_the_counts_in_the_palettes_colours() {
    for palette in [Palette::Classic, Palette::Fire, Palette::Gray] {
        let name = serde_json::to_string(&palette).unwrap();
        let params =
            format!(r#"{{"width": 150, "height": 90, "tileSize": 32, "maxIterations": 300, "palette": {name}}}"#);
        let image = run_whole::<Mandelbrot>(&params, &[]).unwrap().result;
        let mut reader = png::Decoder::new(std::io::Cursor::new(image)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (150, 90, png::ColorType::Rgb));
        let colours = Colours::new(palette, 300);
        let expected = plain(&serde_json::from_str(&params).unwrap()).into_iter().flat_map(|count| colours.of(count));
        assert!(pixels == expected.collect::<Vec<u8>>());
    }
}

#[test]
fn wrong_params_are_refused_for_good() {
    for (params, message) in [
        (r#"{"width": 0}"#, "width is 0; it must be 1 to 1000000"),
        (r#"{"tileSize": 4096}"#, "tileSize is 4096; it must be 1 to 2048"),
        (r#"{"scale": -1}"#, "scale must be above 0"),
        (r#"{"bounds": {"minX": 1, "maxX": 0, "minY": 0, "maxY": 1}}"#, "bounds need minX < maxX"),
        (r#"{"bounds": {"minX": 0, "maxX": 1, "minY": 0, "maxY": 1}, "scale": 2}"#, "not both"),
        (r#"{"palette": "pink"}"#, "unknown variant `pink`, expected one of `classic`, `fire`, `gray`"),
        (r#"{"maxIterations": 10, "max_iterations": 10}"#, "duplicate field `maxIterations`"),
    ] {
        let Err(Failure::Permanent(text)) = run_parts::<Mandelbrot>(params, &[]).map(|_| ()) else {
            panic!("{params}")
        };
        assert!(text.contains(message), "{params}: {text}");
    }
}

/// Not a check but a measurement: `cargo test --release -p mandelbrot -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn merging_sixteen_megapixels() {
    let params = Params { width: 4096, height: 4096, ..Params::default() };
    let (view, grid) = (View::of(&params).unwrap(), Grid::new(4096, 4096, 128));
    let host = MemoryHost::default();
    let started = std::time::Instant::now();
    for index in 0..grid.tiles() {
        let counts = tile_counts(&view, grid.tile(index).unwrap(), params.max_iterations, |_| ());
        host.set_part(index, super::pack(&counts, 2));
    }
    println!("tiles: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let image = task_sdk::testing::merge::<Mandelbrot>(r#"{"width": 4096, "height": 4096}"#, 1024, &host).unwrap();
    println!("merge: {:?}, {} bytes", started.elapsed(), image.len());
}
