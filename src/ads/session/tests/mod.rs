mod converge;
mod delta;
mod limits;
mod places;
mod script;
mod sotw;
mod sync;
