"""The review of a data set by a person: contact sheet, page and previews."""
