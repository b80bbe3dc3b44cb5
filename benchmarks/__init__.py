"""The benchmark: what our way costs against the cheapest thing that could work, measured in one run."""
