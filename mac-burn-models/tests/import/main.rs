//! Weights on their way from PyTorch and back, for each family: files that PyTorch wrote or would write, round trips, wrong
//! files.

mod element_types;
mod files;
mod formulas;
mod networks;
mod parameters;
mod parts;
mod pretrained;
mod pytorch;
mod round_trips;
mod running_statistics;
mod wave;
mod wrong_files;
