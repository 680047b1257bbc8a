// Numbers in files and options are written with a point, whatever locale the process is in (a library's host chooses it).
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

// strtod as the C locale has it, errno with it; for texts whose form has been checked.
double number_read(const char *text);

#endif
