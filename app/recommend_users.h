// recommend --users and --all-users: lists for a whole shop into one file, which a run that was cut off can go on with.
#ifndef APP_RECOMMEND_USERS_H
#define APP_RECOMMEND_USERS_H

#include "app/use.h"

int recommend_users_write(Use *u, const Options *o, Err *err);

#endif
