"""A data set of face clips out of raw videos: cut, measure, judge, review."""
