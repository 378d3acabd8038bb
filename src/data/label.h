/* label.h - which names of folders and which labels of tables mean normal images: one rule for every layout. Internal to
 * src/data. */
#ifndef DCAM_DATA_LABEL_H
#define DCAM_DATA_LABEL_H

/* The label of normal samples, whatever the layout calls them. */
#define DCAM_LABEL_GOOD "good"

/* DCAM_LABEL_GOOD for "good" and "normal"; any other name as it is, for it is a defect's; but NULL for what is good,
 * normal or ok in letters of another case or with blanks around it, and for "ok": taken for a defect it would turn good
 * images into defects without a word, and taken for good the two could lie side by side. */
const char *dcam_label_of(const char *name);

/* Why NULL is refused, after the name. */
#define DCAM_LABEL_UNCLEAR "reads like one of normal images, which must be spelt good (or normal); rename it to good"

#endif
