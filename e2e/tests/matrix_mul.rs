//! Matrix products against numpy's, for both types, both orders and shapes that are not square.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scenario, reference};

const JOB_TIME: Duration = Duration::from_mins(1);

/// Writes `a.npy` and `b.npy`: rows, inner, columns, dtype, order of a, order of b.
const GENERATE: &str = "
import sys, numpy as np
rows, inner, columns, dtype, order_a, order_b = sys.argv[1:]
random = np.random.default_rng(7)
a = random.standard_normal((int(rows), int(inner))).astype(dtype)
b = random.standard_normal((int(inner), int(columns))).astype(dtype)
np.save('a.npy', np.asarray(a, order=order_a)); np.save('b.npy', np.asarray(b, order=order_b))
";

/// Prints the largest error of `c.npy` relative to the sum of absolute products: the scale of rounding.
const COMPARE: &str = "
import numpy as np
a, b, c = (np.load(name) for name in ('a.npy', 'b.npy', 'c.npy'))
assert c.dtype == a.dtype and c.shape == (a.shape[0], b.shape[1]), (c.dtype, c.shape)
exact = a.astype(np.float64) @ b.astype(np.float64)
scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
print(np.max(np.abs(c - exact) / scale))
";

#[tokio::test(flavor = "multi_thread")]
async fn products_equal_numpys() -> Result<()> {
    if !reference::has_python(&["numpy"]) {
        return Ok(());
    }
    let scenario = Scenario::start(2, 1).await?;
    let cases = [
        (["200", "300", "130", "<f8", "C", "C"], 1e-12),
        (["1", "257", "5", "<f8", "F", "C"], 1e-12),
        (["129", "64", "257", "<f8", "C", "F"], 1e-12),
        (["100", "333", "90", "<f4", "F", "F"], 1e-5),
    ];
    for (case, tolerance) in cases {
        reference::python(GENERATE, &case, scenario.folder())?;
        let inputs = ["--input", "a=a.npy", "--input", "b=b.npy", "-o", "c.npy"];
        scenario.pdctl(&[&["run", "matrix-mul", "--params", r#"{"tileSize":64}"#], &inputs[..]].concat())?;
        let error: f64 = reference::python(COMPARE, &[], scenario.folder())?.trim().parse()?;
        ensure!(error <= tolerance, "{case:?}: relative error {error}");
    }
    Ok(())
}

/// The task's own code in the sandbox, and the node's kernel: shapes with every kind of edge.
#[tokio::test(flavor = "multi_thread")]
async fn the_result_does_not_depend_on_whose_kernel_computed_it() -> Result<()> {
    let scenario = Scenario::start(1, 1).await?;
    for (size, tile) in [(1, 1), (67, 64), (300, 259), (256, 128)] {
        let results = [true, false].map(|offers| {
            let name = format!("size-{size}-{offers}");
            let manifest = format!(
                "apiVersion: processdistro.dev/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  \
                 sandbox: {{hostKernels: {offers}}}\n  cache: false\n  \
                 task: {{name: matrix-mul, params: {{size: {size}, tileSize: {tile}, seed: 3}}}}\n"
            );
            (name, manifest)
        });
        let mut bytes = Vec::new();
        for (name, manifest) in results {
            scenario.write("job.yaml", manifest)?;
            scenario.pdctl(&["apply", "-f", "job.yaml"])?;
            scenario.until_complete(&name, JOB_TIME).await?;
            scenario.pdctl(&["results", &format!("job/{name}"), "-o", "result.npy"])?;
            bytes.push(std::fs::read(scenario.path("result.npy")).context("reading a result")?);
        }
        ensure!(bytes[0] == bytes[1], "{size} in tiles of {tile}: the products differ");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_does_not_depend_on_how_it_was_split() -> Result<()> {
    let scenario = Scenario::start(2, 1).await?;
    let mut results = Vec::new();
    for tile in [32, 100, 128] {
        let (name, file) = (format!("tiles-{tile}"), format!("{tile}.npy"));
        let params = format!(r#"{{"matrix_size":256,"tile_size":{tile},"seed":11}}"#);
        scenario.pdctl(&["run", "matrix-mul", "--name", &name, "--params", &params, "--detach"])?;
        scenario.until_complete(&name, JOB_TIME).await?;
        scenario.pdctl(&["results", &format!("job/{name}"), "-o", &file])?;
        results.push(std::fs::read(scenario.path(&file)).context("reading a result")?);
    }
    ensure!(results.windows(2).all(|pair| pair[0] == pair[1]), "the products differ");
    Ok(())
}
