//! Properties that the fuzz targets check.
