/* version.h: of the program and of all files it writes that name it. */
#ifndef GRAFT_BASE_VERSION_H
#define GRAFT_BASE_VERSION_H

#define GRAFT_VERSION "0.1.0"

#endif
