/** What CloudSim 3.0.3 itself gives, one run each. Our baselines are believed where they come near. Days that are not here have no such row. */
export interface Published {
  readonly energyKwh: number;
  readonly migrations: number;
}

export const published: Readonly<Record<string, { readonly lrr: Published; readonly thr: Published }>> = {
  "20110303": { lrr: { energyKwh: 167.83, migrations: 27649 }, thr: { energyKwh: 198.08, migrations: 27728 } },
  "20110306": { lrr: { energyKwh: 127.98, migrations: 21661 }, thr: { energyKwh: 150.7, migrations: 21575 } },
  "20110309": { lrr: { energyKwh: 139.4, migrations: 24239 }, thr: { energyKwh: 162.2, migrations: 23376 } },
  "20110322": { lrr: { energyKwh: 172.88, migrations: 31376 }, thr: { energyKwh: 194.23, migrations: 28381 } },
};
