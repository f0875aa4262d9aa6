//! Makes what `PyO3` knows of the Python that is built for, `Py_GIL_DISABLED` above all, known to the code.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
