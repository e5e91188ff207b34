mod converge;
mod delta;
mod limits;
mod script;
mod sotw;
mod sync;
