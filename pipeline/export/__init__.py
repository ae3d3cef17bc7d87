"""A finished set of labelled pictures in the forms that other tools read, one module a form.

An export arranges files that the dataset stage has written and adds what is known of each picture; nothing is drawn,
labelled or encoded again. Labels are dataset ids: 0 background, 1..C, 255 ignore. Items come one at a time, so that
memory does not grow with their number, but for the list of ids. docs/exports.md shows the forms and their readers.
"""
