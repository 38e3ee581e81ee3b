//! Weights on their way from PyTorch and back, for each family: files that PyTorch wrote, round trips, wrong files.

mod files;
mod networks;
mod parameters;
mod pytorch;
mod round_trips;
mod types;
mod wrong_files;
